//go:build race

package ws

// Under the race detector a sync.Pool forgets some of what it is given.
const poolForgets = true
