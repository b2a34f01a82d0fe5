//go:build !unix

package pipe

import "sync/atomic"

func directTo(Conn, *atomic.Int64) Direct { return nil }
