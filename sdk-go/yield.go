package lockserver

import "context"

// Yield asks the first 100 holders of a resource to give it back, or with a token other than 0 that holder only. It tells them who asks; ""
// stands for the client's owner. It returns who was asked, and takes nothing. A resource that is free, or not held with that token, is
// ErrNotFound. It asks again and gives up as [Client.List] does, so that a holder may be asked twice.
func (c *Client) Yield(ctx context.Context, resource string, token int64, by string) ([]Holder, error) {
	if by == "" {
		by = c.owner
	}
	var answer wireAsked
	if err := c.look(ctx, resource, &opYield, &yieldRequest{Resource: resource, Token: token, By: by}, &answer); err != nil {
		return nil, err
	}
	return holders(answer.Asked), nil
}

type yieldRequest struct {
	Resource string `json:"resource"`
	Token    int64  `json:"token,omitempty"`
	By       string `json:"by"`
}

type wireAsked struct {
	Asked []wireHolder `json:"asked"`
}

func (w *wireAsked) missing(int) string { return absent("asked", w.Asked == nil) }
