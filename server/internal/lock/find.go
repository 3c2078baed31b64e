package lock

// find returns the claim that ref names, or nil. It returns a refusal if ref does not say which of several, or names two.
func (t *Table) find(now int64, r *resource, ref *Ref) (_ *claim, refusal Answer) {
	if r == nil {
		return nil, Answer{}
	}
	if ref.Token == 0 && ref.ID == "" {
		n, c := r.byOwner(ref.Owner)
		if n > 1 {
			return nil, Answer{Code: TokenRequired}
		}
		return c, Answer{}
	}
	var byToken, byID *claim
	if ref.Token != 0 {
		if byToken = r.byToken(ref.Token); byToken != nil && byToken.owner != ref.Owner {
			byToken = nil
		}
	}
	if ref.ID != "" {
		if byID = r.byID(ref.Owner, ref.ID); byID != nil && byID.lostPlace(now) {
			byID = nil
		}
	}
	switch {
	case ref.Token == 0:
		return byID, Answer{}
	case ref.ID == "" || byToken == byID:
		return byToken, Answer{}
	default:
		return nil, Answer{Code: Mismatch, Field: "token"}
	}
}

// notHeld says why what ref names is not held.
func (t *Table) notHeld(r *resource, ref *Ref) Answer {
	switch how, _ := t.recall(ref); {
	case how == EventExpired:
		return Answer{Code: NotHeld, Reason: Expired}
	case how == EventEvicted:
		return Answer{Code: NotHeld, Reason: Evicted}
	case r != nil && r.holders.n > 0:
		return Answer{Code: NotHeld, Reason: OtherHolder}
	default:
		return Answer{Code: NotHeld}
	}
}

// recall returns how what ref names has ended, and its token; 0 if that is not remembered.
func (t *Table) recall(ref *Ref) (how EventKind, token int64) {
	switch {
	case ref.Token != 0:
		return t.memory.get(t.memory.tokenKey(ref.Resource, ref.Owner, ref.Token))
	case ref.ID != "":
		return t.memory.get(t.memory.idKey(ref.Resource, ref.Owner, ref.ID))
	default:
		return 0, 0
	}
}
