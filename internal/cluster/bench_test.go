package cluster

import (
	"testing"
	"time"
)

// BenchmarkReceive measures what a message of 100 bytes costs its receiver.
func BenchmarkReceive(b *testing.B) {
	n, f, topic := receiver(b)
	body := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		h := f.header(news)
		data := f.codec.seal(topic.tag, &h, body)
		b.StartTimer()
		n.receive(topic, data)
	}
}

// BenchmarkSend measures what a message of 100 bytes costs its sender, without the broker.
func BenchmarkSend(b *testing.B) {
	n, _, _ := receiver(b)
	body := make([]byte, 100)
	b.ReportAllocs()
	for b.Loop() {
		n.out.push(&item{form: news, topics: []tag{n.codec.tag(room)}, body: body, since: time.Now()})
		o, _ := n.out.next(time.Now(), n.members.runs)
		n.codec.seal(o.tag, &o.header, o.body)
		n.out.published(&o, true)
	}
}
