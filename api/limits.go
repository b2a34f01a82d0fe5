package api

// Limits of the control API. Lengths count Unicode code points; the struct
// tags of the request types repeat them, since a tag cannot name a constant.
const (
	MaxBody     = 1 << 20 // bytes of a request's body
	MaxSyncBody = 8 << 20 // bytes of a sync's body
	MaxSync     = 1000    // items of a sync

	MaxName        = 255 // names, ids, localIds, user names
	MaxHost        = 255 // a host name is at most 253 (RFC 1035, section 2.3.4)
	MaxAddress     = 300 // a host with a port
	MaxEmail       = 254 // RFC 5321, section 4.5.3.1.3, without the angle brackets
	MaxPath        = 4096
	MaxDescription = 4096
	MaxPassword    = 1024
	MaxPrivateKey  = 65536
	MaxSOCKS       = 255 // user name and password each, in bytes: RFC 1929, section 2

	MinUsername = 3
	MaxPort     = 65535
)
