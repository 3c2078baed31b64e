// Package lockserver locks named resources for one process among many, through a Lockserver.
//
// The scope is the form to prefer. It waits for its turn, renews the lease while its body runs, and releases whatever happens:
//
//	client, err := lockserver.New(lockserver.WithSecret(secret)) // or LOCKSERVER_SECRET in the environment or in .env
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	err = client.WithLock(ctx, "invoices", func(ctx context.Context) error {
//		return writeInvoices(ctx) // ctx is cancelled if the lock is lost
//	})
//
// [Client.Acquire] and [Client.TryAcquire] give a [Lock] to hold and release by hand.
//
// # What a lock promises
//
// The server grants a resource to one holder at a time. A lease cannot stop a holder that was suspended and wakes up after its lease has
// ended. So a lock says when it can no longer be trusted ([Lock.Err], [Lock.Done], the context of a scope), a little before the server
// grants the resource to the next; and it carries a fencing token ([Lock.Token]) that only rises, by which whatever the lock protects can
// refuse a holder that comes too late.
//
// # Sessions
//
// A client keeps one connection, a session, which carries all its calls at the same time, tells of losses at once, and renews all leases
// by one message. Where the server or a proxy refuses it, the client uses HTTP by itself, and tries again after a minute. [WithTransport]
// turns sessions off.
//
// # Errors
//
// Every failure is an [*Error] with a [Code], or an error that wraps one, and errors.Is(err, lockserver.ErrLocked) asks for the code. The
// one exception is a context that was cancelled: that is the context's own error, with the name of the resource.
package lockserver
