package main

const help = `lockctl takes locks of a Lockserver, for shells, cron and people.

Usage:
  lockctl run [flags] RESOURCE -- COMMAND [ARGUMENT...]
                              take the lock, run the command, renew while it runs, release when it ends
  lockctl ls [--prefix P] [--owner O] [--json] [--timeout TIME]
                              who holds what
  lockctl show [--json] [--timeout TIME] RESOURCE
                              holders and queue of one lock
  lockctl why [--timeout TIME] RESOURCE
                              the same in words, and how long it is held as a rule
  lockctl history [--limit N] [--json] [--timeout TIME] RESOURCE
                              what happened last to one lock: who had it, how it ended, who gave up waiting; for a server with --history
  lockctl top [-n N] [--json] [--timeout TIME]
                              the locks that others wait for most: how often, how long (half of the times up to P50, 99 of 100 up to P99)
  lockctl watch [--prefix P] [--json] [--timeout TIME]
                              what happens to locks, as it happens, until Ctrl-C. After a cut it goes on where it was; what was missed
                              all the same it tells as a gap
  lockctl yield [--by WHO] [--token T] [--json] [--timeout TIME] RESOURCE
                              ask the holders of a lock to give it back, in the name of WHO [LOCKSERVER_OWNER]; it takes nothing
  lockctl force-release [--yes] [--token T] [--json] [--timeout TIME] RESOURCE
                              take a lock from its holders; asks first
  lockctl version | help

Examples:
  # one run at a time, however often cron starts it; a run that finds another at work ends at once
  */5 * * * *  cd ~/app && lockctl run --no-wait nightly-report -- ./report

  # wait at most a minute for our turn
  lockctl run --timeout 1m deploy -- ./deploy.sh

  # five at a time
  lockctl run --limit 5 gpu -- python train.py

  # who is in the way, and for how long as a rule?
  lockctl why deploy

Flags of run:
  --expire TIME   length of the lease [30s]; it is renewed at a third of it while the command runs, so that the lock is free
                  again at most this long after lockctl or the network has died. 1s or more
  --timeout TIME  wait no longer than this [no limit]; 0 is one try
  --no-wait       do not wait at all: end with 120 if the lock is held
  --shared        take it as a reader, beside other readers
  --limit N       take one of N permits of a semaphore
  --note TEXT     a text for people who look at the lock
  --wait-group    hold the lock until every process of the command's process group has ended, and not only the command. Without it
                  a child that the command leaves in the background (sh -c 'job & ...') goes on WITHOUT the lock

Flag of the others:
  --timeout TIME  wait no longer than this for an answer of the server [5s; watch: 30s, also after a cut]

A TIME is in seconds (30, 2.5) or has a unit (500ms, 2m).

The command gets LOCKSERVER_RESOURCE and LOCKSERVER_TOKEN, the fencing token. Signals that lockctl gets go on to it and its process
group; on a terminal it is in the foreground, and Ctrl-Z, fg and bg work. Where Ctrl-C ends the wait or the command, lockctl ends by
SIGINT itself, so that a script around it ends too (a shell shows 130). When the lease cannot be renewed, the group gets SIGTERM
when a third of the lease is left, and SIGKILL when a tenth is: it is gone before anybody else can get the lock. After a
force-release it gets SIGTERM as soon as lockctl hears of it, and SIGKILL 5s later, or when a tenth of the lease is left.

A second process, "lockctl watchdog", does the same if lockctl is stopped, also by Ctrl-Z, for longer than the lease. If lockctl is
killed with SIGKILL, it kills the command's group at once; the lock ends with its lease.

Limits: if both processes are killed with SIGKILL, or the machine sleeps, nothing ends the command in time (on Linux it is then killed
too, but not what it started). Processes that leave the process group (daemons, jobs of an interactive shell, what timeout or setsid
starts) are not reached, and not waited for. With --wait-group the exit code is still the command's; once that has ended, the others of
its group are in the background of the terminal, and get the signals that lockctl gets. On Linux the system tells of the end of each;
that one leaves the group is noticed within a second. Elsewhere lockctl looks every 20ms.

Settings: LOCKSERVER_ADDR [127.0.0.1:8080], LOCKSERVER_SECRET, LOCKSERVER_OWNER and LOCKSERVER_TRANSPORT [auto], from the environment or
from .env in the working directory. The secret is never an argument, where every user of the machine could see it. To a server that
wants a certificate of its clients, lockctl shows the one in the PEM files LOCKSERVER_CLIENT_CERT and LOCKSERVER_CLIENT_KEY, set likewise.
LOCKSERVER_ADDR may have several addresses with commas between them, those of a cluster: when one fails, the next is asked.

Exit codes:
  run: that of the command, or 128+N if signal N ended it; and
    120  held by another (--no-wait)
    121  gave up waiting (--timeout)
    122  lock lost, the command was ended
    123  the server cannot be reached, or the secret or a setting is wrong
    125  lockctl was called wrongly
    126  the command cannot be executed
    127  the command was not found
  the others: 0; 1 if nobody holds the lock, or you said no; 123 and 125 as above

NO_COLOR turns colours off.
`
