package cluster

import (
	"context"
	"log/slog"
	"time"
)

// receive takes what came on a topic.
func (n *Node) receive(t *topic, data []byte) {
	h, body, v := n.codec.open(t.tag, data)
	if v != accepted {
		n.mu.Lock()
		n.stats.Rejected++
		n.mu.Unlock()
		n.logRefused(v, nil)
		return
	}
	now := time.Now()
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	r := n.members.hear(now, t, &h, body)
	n.membersLeftLocked()
	n.countLocked(r)
	if r.verdict == own && h.form == beat {
		n.echoed = now
	}
	if r.verdict == accepted {
		r.sameAddress = h.form == beat && r.member.phase == living && r.member.address != "" && r.member.address == n.config.Advertise
		switch h.form {
		case answer:
			if p, ok := readPart(body); ok {
				n.asks.take(r.member, p)
			}
		case question:
			n.inquireLocked(now, &h, body)
		}
	}
	if r.answer {
		n.out.beatSoon = true
		n.wakeSender()
	}
	n.mu.Unlock()

	switch {
	case r.verdict == stale:
		n.logOnce(&n.logs.clock, "socketauth: a message of another process is refused, because its time is too far from this "+
			"process's clock: set the clocks, or the broker delays or somebody repeats messages",
			slog.String("node", string(h.from.name[:])), slog.Duration("behind", r.off.Round(time.Millisecond)))
	case reasons[r.verdict] != "":
		n.logRefused(r.verdict, &h)
	case r.nonsense:
		n.logOnce(&n.logs.nonsense, "socketauth: another process advertises an address that is not valid; requests are not passed on to it",
			slog.String("node", r.member.name))
	case r.sameAddress:
		n.logOnce(&n.logs.sameAddress, "socketauth: another process advertises the same address as this one; requests that are passed on "+
			"go to the wrong process", slog.String("node", r.member.name), slog.String("url", n.config.Advertise),
			slog.String("fix", "nothing if one of the two is about to end; otherwise set Cluster.Advertise to where this process alone is reached"))
	}
	if r.gaps {
		n.gap(control)
	}
	if r.gap {
		n.gap(t.Topic)
	}
	if h.form == news && r.verdict == accepted && n.config.Deliver != nil {
		n.config.Deliver(Message{r.member.name, h.kind, t.Topic, body})
	}
}

func (n *Node) countLocked(r heard) {
	switch {
	case r.verdict == own:
	case r.verdict == accepted || r.verdict == copied || r.verdict == left:
		n.stats.Received++
	case r.verdict == unknown:
		n.stats.Unknown++
	default:
		n.stats.Rejected++
	}
	if r.gap || r.gaps {
		n.stats.Gaps++
	}
}

// logRefused logs that messages are refused, once a minute for each reason. The header is nil if it
// is not to be trusted.
func (n *Node) logRefused(v verdict, h *header) {
	attrs := []any{slog.String("reason", reasons[v])}
	if h != nil {
		attrs = append(attrs, slog.String("node", string(h.from.name[:])))
	}
	n.logOnce(&n.logs.refused[v], "socketauth: messages between processes are refused", attrs...)
}

// inquireLocked has a worker answer a question of another node.
func (n *Node) inquireLocked(now time.Time, h *header, body []byte) {
	id, milliseconds, data, ok := readQuestion(body)
	if !ok {
		return
	}
	if len(n.toAnswer) >= maxQuestions || n.askedBytes+len(data) > maxQuestionBytes {
		return // who asks sees that there is no answer
	}
	n.askedBytes += len(data)
	wait := min(time.Duration(milliseconds)*time.Millisecond, longestQuestion)
	n.toAnswer = append(n.toAnswer, inquiry{inboxOf(h.from), id, h.kind, data, now.Add(wait)})
	if n.workers < answerWorkers {
		n.workers++
		n.work.Go(n.answer)
	}
}

// longestQuestion is for how long a question may wait for its answer.
const longestQuestion = 30 * time.Second

// answer answers questions of other nodes until there are none.
func (n *Node) answer() {
	for {
		n.mu.Lock()
		if len(n.toAnswer) == 0 || n.closed {
			n.workers--
			n.mu.Unlock()
			return
		}
		q := pop(&n.toAnswer)
		n.askedBytes -= len(q.data)
		n.mu.Unlock()
		if !time.Now().Before(q.until) {
			continue
		}
		var data []byte
		if n.config.Answer != nil {
			ctx, stop := context.WithDeadline(n.life, q.until)
			data = n.config.Answer(ctx, q.kind, q.data)
			stop()
		}
		if len(data) > maxAnswer {
			n.logOnce(&n.logs.large, "socketauth: the answer to another process is too large, and is not given", slog.Int("bytes", len(data)))
		}
		to := []tag{n.codec.tag(q.from)}
		now := time.Now()
		n.mu.Lock()
		for _, body := range cutAnswer(q.id, data) {
			if !n.pushLocked(&item{form: answer, topics: to, body: body, since: now}) {
				break
			}
		}
		n.mu.Unlock()
	}
}
