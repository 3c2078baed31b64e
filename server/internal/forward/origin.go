package forward

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/netip"
	"strings"
)

// originHeader tells the leader who asked, and proves that a server of the cluster says so: an address and its sum with the key.
const originHeader = "Lockserver-Forwarded-For"

// Share tells the key that all servers of the cluster have in common.
func (f *Forwarder) Share(key string) { f.key.Store(&key) }

// sign says in the header of a request that it comes from that address. Who has seen one can say again that a request came from there,
// but cannot name another address.
func (f *Forwarder) sign(h http.Header, address string) {
	h.Del(originHeader) // the client's
	if key := f.key.Load(); key != nil {
		h.Set(originHeader, address+" "+sum(*key, address))
	}
}

// Origin returns where a request comes from that a server of the cluster has passed on; "" for any other.
func (f *Forwarder) Origin(r *http.Request) string {
	value, key := r.Header.Get(originHeader), f.key.Load()
	if value == "" || key == nil {
		return ""
	}
	address, proof, _ := strings.Cut(value, " ")
	if !hmac.Equal([]byte(proof), []byte(sum(*key, address))) {
		return ""
	}
	if _, err := netip.ParseAddrPort(address); err != nil {
		return ""
	}
	return address
}

func sum(key, address string) string {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(address))
	return hex.EncodeToString(mac.Sum(nil))
}
