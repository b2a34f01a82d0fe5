//go:build !unix

package pipe

import "io"

// socketReaderFor finds none: without non-blocking reads of a raw descriptor
// the growing buffer serves.
func socketReaderFor(io.Reader) reader { return nil }
