//go:build !race

package server

// underRace says that the race detector's own memory is counted too.
const underRace = false
