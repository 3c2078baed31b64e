package driver

// Request is a line to a driver. PROTOCOL.md says which members belong to which operation, and the schema holds it to that.
// The tag feature names what a driver must have for a member.
type Request struct {
	ID       int    `json:"id"`
	Op       string `json:"op"`
	Protocol int    `json:"protocol,omitempty"`

	Client   string `json:"client,omitempty"`
	Lock     string `json:"lock,omitempty"`
	Resource string `json:"resource,omitempty"`
	Prefix   string `json:"prefix,omitempty"`
	Count    int    `json:"count,omitempty"`

	Addr   *string `json:"addr,omitempty"`
	Owner  *string `json:"owner,omitempty"`
	Secret *string `json:"secret,omitempty"`
	Dotenv *bool   `json:"dotenv,omitempty"`
	Proxy  string  `json:"proxy,omitempty" feature:"proxy"`
	// Transport is not a feature of itself: without sessions there is nothing to choose.
	Transport *string            `json:"transport,omitempty"`
	Test      map[string]float64 `json:"test,omitempty" feature:"test-settings"`

	Blocking *bool    `json:"blocking,omitempty"`
	Expire   any      `json:"expire,omitempty"` // a number, or a text where that is what the case is about
	Renew    bool     `json:"renew,omitempty" feature:"auto-renew"`
	Timeout  *float64 `json:"timeout,omitempty" feature:"timeout"`
	Mode     string   `json:"mode,omitempty" feature:"modes"`
	Limit    int      `json:"limit,omitempty" feature:"modes"`
	Note     string   `json:"note,omitempty" feature:"note"`
	Form     string   `json:"form,omitempty"`

	How       string   `json:"how,omitempty"`
	Of        int      `json:"of,omitempty"`
	Monotonic *float64 `json:"monotonic,omitempty"`
	Wall      *float64 `json:"wall,omitempty"`
}
