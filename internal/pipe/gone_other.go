//go:build !linux

package pipe

// canTell says that isGone does not know.
const canTell = false

// isGone cannot be known here.
func isGone(Conn) bool { return false }
