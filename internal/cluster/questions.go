package cluster

import (
	"slices"
	"strings"
)

const (
	partSize         = 256 << 10
	maxAnswer        = 16 << 20 // of one node
	maxAnswers       = 64 << 20 // of all that is being waited for
	maxAsking        = 256      // questions that wait for answers at the same time
	maxQuestions     = 1024     // of others, that wait for this node
	maxQuestionBytes = 16 << 20
	answerWorkers    = 16
)

// questions are those of this node that wait for answers. They are a state machine without I/O.
type questions struct {
	last  uint64
	open  map[uint64]*asking
	bytes int // of the answers so far
}

// asking is one question.
type asking struct {
	id       uint64
	waiting  map[*member]*reply // those that have not answered
	living   int                // how many of them are to be waited for
	answers  []Answer
	complete chan struct{} // closed once nobody is to be waited for
}

// reply is what a member has said so far.
type reply struct {
	data    []byte
	parts   uint16
	waitFor bool
	spoiled bool // a part is missing, or it is too long
}

// ask begins a question to the members.
func (q *questions) ask(to []*member) *asking {
	q.last++
	a := &asking{id: q.last, waiting: make(map[*member]*reply, len(to)), complete: make(chan struct{})}
	for _, m := range to {
		r := &reply{waitFor: m.phase == living}
		if r.waitFor {
			a.living++
		}
		a.waiting[m] = r
	}
	q.open[a.id] = a
	a.check()
	return a
}

func (a *asking) check() {
	if a.living == 0 {
		select {
		case <-a.complete:
		default:
			close(a.complete)
		}
	}
}

// stopWaiting stops a question from waiting for a member.
func (a *asking) stopWaiting(r *reply) {
	if r.waitFor {
		r.waitFor = false
		a.living--
		a.check()
	}
}

// take takes a part of an answer.
func (q *questions) take(m *member, p part) {
	a := q.open[p.question]
	if a == nil || a.waiting[m] == nil || a.waiting[m].spoiled {
		return // late, or said twice
	}
	r := a.waiting[m]
	size := len(p.data)
	if p.state == partRefused || p.index != r.parts || len(r.data)+size > maxAnswer || q.bytes+size > maxAnswers {
		q.bytes -= len(r.data)
		r.data, r.spoiled = nil, true
		a.stopWaiting(r)
		return
	}
	q.bytes += size
	r.data = append(r.data, p.data...)
	r.parts++
	if p.state == partLast {
		a.answers = append(a.answers, Answer{m.name, r.data})
		delete(a.waiting, m)
		a.stopWaiting(r)
	}
}

// left stops questions from waiting for a member that is not living any more. One that is gone does
// not count as one that has not answered.
func (q *questions) left(m *member) {
	for _, a := range q.open {
		r := a.waiting[m]
		if r == nil {
			continue
		}
		if m.phase == gone {
			q.bytes -= len(r.data)
			delete(a.waiting, m)
		}
		a.stopWaiting(r)
	}
}

// finish ends a question, and returns the answers and who has not answered, both by name.
func (q *questions) finish(a *asking) (answers []Answer, unheard []string) {
	delete(q.open, a.id)
	for _, answer := range a.answers {
		q.bytes -= len(answer.Data)
	}
	for m, r := range a.waiting {
		q.bytes -= len(r.data)
		unheard = append(unheard, m.name)
	}
	slices.SortFunc(a.answers, func(x, y Answer) int { return strings.Compare(x.Node, y.Node) })
	slices.Sort(unheard)
	return a.answers, unheard
}

// fail ends the waiting of a question, because it could not be asked.
func (a *asking) fail() {
	for _, r := range a.waiting {
		a.stopWaiting(r)
	}
}

// cutAnswer cuts an answer into the bodies of its messages.
func cutAnswer(question uint64, data []byte) (bodies [][]byte) {
	if len(data) > maxAnswer {
		p := part{question: question, state: partRefused}
		return [][]byte{p.append(nil)}
	}
	for index := uint16(0); ; index++ {
		n := min(len(data), partSize)
		p := part{question, index, partMore, data[:n]}
		if data = data[n:]; len(data) == 0 {
			p.state = partLast
		}
		bodies = append(bodies, p.append(make([]byte, 0, answerSize+n)))
		if p.state == partLast {
			return bodies
		}
	}
}
