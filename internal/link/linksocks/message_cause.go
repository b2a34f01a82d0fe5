package linksocks

import (
	"strings"

	"github.com/adit-tunnel/adit/internal/site"
)

// The words that the cause of a failed Connect begins with.
const (
	wordRefused     = "refused"
	wordUnreachable = "unreachable"
	wordName        = "name"
	wordDenied      = "denied"
	wordTimeout     = "timeout"
	// What failed for another reason says so too, or an address or a text in
	// the detail could be taken for one of the reasons above.
	wordOther = "failed"
)

// FailureText is the cause of a failed Connect: a stable word and a colon, then
// the detail, or the reason where there is none. FailureReason reads it,
// whatever the detail says.
func FailureText(r site.Reason, detail string) string {
	word := wordOther
	switch r {
	case site.Refused:
		word = wordRefused
	case site.HostUnreachable, site.NetworkUnreachable:
		word = wordUnreachable
		if detail != "" {
			detail = r.String() + ": " + detail // one word for two reasons
		}
	case site.NameNotFound:
		word = wordName
	case site.Denied:
		word = wordDenied
	case site.TimedOut:
		word = wordTimeout
	}
	if detail == "" {
		detail = r.String()
	}
	return word + ": " + detail
}

// FailureReason reads why a Connect failed: from the word that FailureText puts
// in front, else, since stock peers send their system's text as it is, from
// what is found in that. site.Other is the answer to everything else.
func FailureReason(cause string) site.Reason {
	word, detail, _ := strings.Cut(cause, ":")
	switch word {
	case wordRefused:
		return site.Refused
	case wordUnreachable:
		return unreachable(strings.TrimPrefix(detail, " "))
	case wordName:
		return site.NameNotFound
	case wordDenied:
		return site.Denied
	case wordTimeout:
		return site.TimedOut
	case wordOther:
		return site.Other
	}
	text := strings.ToLower(cause)
	switch {
	case strings.Contains(text, "connection refused"):
		return site.Refused
	case strings.Contains(text, "unreachable"), strings.Contains(text, "no route"):
		return unreachable(text)
	case strings.Contains(text, "timeout"):
		return site.TimedOut
	}
	return site.Other
}

// unreachable tells hosts from networks. What FailureText puts first is asked
// first: the detail behind it may name both.
func unreachable(text string) site.Reason {
	switch {
	case strings.HasPrefix(text, site.HostUnreachable.String()):
		return site.HostUnreachable
	case strings.Contains(text, "network unreachable"), strings.Contains(text, "network is unreachable"):
		return site.NetworkUnreachable
	}
	return site.HostUnreachable
}
