//go:build !race

package ws

const poolForgets = false
