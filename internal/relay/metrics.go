package relay

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/adit-tunnel/adit/internal/pipe"
)

// metrics are what operators see of a hub. No label has an id, an address or
// anything that a peer can make up.
type metrics struct {
	hub     *Hub
	meter   pipe.Meter
	events  *prometheus.CounterVec
	links   *prometheus.Desc
	streams *prometheus.Desc
	bytes   *prometheus.Desc
}

func newMetrics(h *Hub) *metrics {
	return &metrics{
		hub: h,
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "adit_relay_events_total",
			Help: "What was refused, lost or ended by the relay, by its reason."}, []string{"event"}),
		links:   prometheus.NewDesc("adit_relay_links", "Authenticated links, by the kind of their token.", []string{"kind"}, nil),
		streams: prometheus.NewDesc("adit_relay_streams", "Streams and associations that are open on links.", nil, nil),
		bytes: prometheus.NewDesc("adit_relay_bytes_total", "Bytes of TCP streams, as seen by who opened them.",
			[]string{"direction"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(descs chan<- *prometheus.Desc) {
	m.events.Describe(descs)
	descs <- m.links
	descs <- m.streams
	descs <- m.bytes
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	m.events.Collect(out)
	links := map[Kind]int{Forward: 0, Reverse: 0, Connector: 0}
	m.hub.mu.Lock()
	for l := range m.hub.links {
		links[l.token.Kind]++
	}
	m.hub.mu.Unlock()
	for kind, n := range links {
		out <- prometheus.MustNewConstMetric(m.links, prometheus.GaugeValue, float64(n), string(kind))
	}
	out <- prometheus.MustNewConstMetric(m.streams, prometheus.GaugeValue, float64(m.hub.streams()))
	out <- prometheus.MustNewConstMetric(m.bytes, prometheus.CounterValue, float64(m.meter.Out.Load()), "up")
	out <- prometheus.MustNewConstMetric(m.bytes, prometheus.CounterValue, float64(m.meter.In.Load()), "down")
}
