package wire

// Operation is a kind of request. The table of operations is generated from the contract.
type Operation uint8

type operationRow struct {
	name, method, path string
	open               bool     // needs no secret
	inBody             bool     // its fields are in the body, not in the query
	fields, required   fieldSet // fields it may have, and must have
}

// String is the operation's name in the contract; "other" for what is none.
func (o Operation) String() string {
	if o >= operationCount {
		return "other"
	}
	return operationRows[o].name
}

// Method is the HTTP method that asks for the operation.
func (o Operation) Method() string { return operationRows[o].method }

// Path is where it is asked for.
func (o Operation) Path() string { return operationRows[o].path }

// Open tells whether it needs no secret.
func (o Operation) Open() bool { return o < operationCount && operationRows[o].open }

// InBody tells whether its fields are in the body of a request; if not, they are in the query.
func (o Operation) InBody() bool { return operationRows[o].inBody }

// Other stands for a request that asks for no operation of the contract.
const Other = operationCount
