//go:build !unix

package pipe

import "sync/atomic"

func directTo(*end, *atomic.Int64) Direct { return nil }
