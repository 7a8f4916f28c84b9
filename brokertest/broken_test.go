package brokertest_test

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// faults are what can be wrong with a broker.
type faults struct {
	notOwn, oneSubscriber, keepsForLater, double, shuffles, foldsTopics, cutsTopics, prefixTopics bool
	textOnly, bounded, noEmpty, keepsData, sharesData                                             bool
	subscribesLate, contextEnds, failedHears, noContext, deaf                                     bool
	cancelReturns, cancelLeavesQueue, cancelEndsAll, cancelOnce                                   bool
	manyAtOnce, held, oneForAll, overflows                                                        bool
	gapAlways, noGap, gapForOne, cutIsFinal, losesAfterGap                                        bool
}

// fault is a way to be wrong, with the promise of the suite that must detect it.
type fault struct {
	found  string
	breaks func(*faults)
}

const (
	everyone   = "A message is heard by all who subscribe to its topic, its publisher too, and by nobody else"
	forNobody  = "A message that nobody has subscribed to is kept for nobody"
	inOrder    = "The messages of each publisher on a topic come in order, each once"
	topicNames = "Topics of 1 to 64 letters, digits, - and _ are told apart"
	anyData    = "Data is any bytes, also none and many"
	publishers = "Data is the publisher's again once Publish has returned"
	toKeep     = "Data is the callback's to keep and to change"
	atOnce     = "Nothing is missed once Subscribe has returned"
	thatCall   = "The context of Subscribe bounds that call alone"
	noneBegins = "No callback begins once cancel has returned"
	waits      = "cancel waits for a callback that is running"
	again      = "cancel may be called again, and by several at once"
	oneByOne   = "Subscriptions to one topic end one by one"
	oneATime   = "The callbacks of a subscription are called one at a time"
	mayCall    = "A callback may publish, subscribe, and end other subscriptions"
	slow       = "A callback that is slow holds up no other subscription, and no publisher"
	afterCut   = "A connection that was cut is a gap, and what comes after the gap is heard"
	orGap      = "Every message is heard, or a gap is called after it was published"
	stalled    = "Calls return with their context where nothing answers"
)

// broken holds the faults, by what is wrong with the broker.
var broken = map[string]fault{
	"a publisher does not hear itself":       {everyone, func(f *faults) { f.notOwn = true }},
	"one of several subscriptions hears":     {everyone, func(f *faults) { f.oneSubscriber = true }},
	"a gap is called for nothing":            {everyone, func(f *faults) { f.gapAlways = true }},
	"messages are kept":                      {forNobody, func(f *faults) { f.keepsForLater = true }},
	"messages come twice":                    {inOrder, func(f *faults) { f.double = true }},
	"messages come out of order":             {inOrder, func(f *faults) { f.shuffles = true }},
	"topics are case-insensitive":            {topicNames, func(f *faults) { f.foldsTopics = true }},
	"topics are cut short":                   {topicNames, func(f *faults) { f.cutsTopics = true }},
	"a topic begins another":                 {topicNames, func(f *faults) { f.prefixTopics = true }},
	"data is text":                           {anyData, func(f *faults) { f.textOnly = true }},
	"data has a bound of less than 1 MiB":    {anyData, func(f *faults) { f.bounded = true }},
	"empty data is lost":                     {anyData, func(f *faults) { f.noEmpty = true }},
	"data is read after Publish":             {publishers, func(f *faults) { f.keepsData = true }},
	"subscriptions share data":               {toKeep, func(f *faults) { f.sharesData = true }},
	"a subscription begins late":             {atOnce, func(f *faults) { f.subscribesLate = true }},
	"the context ends the subscription":      {thatCall, func(f *faults) { f.contextEnds = true }},
	"cancel leaves what waits":               {noneBegins, func(f *faults) { f.cancelLeavesQueue = true }},
	"cancel does not wait":                   {waits, func(f *faults) { f.cancelReturns = true }},
	"a second cancel hangs":                  {again, func(f *faults) { f.cancelOnce = true }},
	"one cancel ends all":                    {oneByOne, func(f *faults) { f.cancelEndsAll = true }},
	"callbacks overlap":                      {oneATime, func(f *faults) { f.manyAtOnce = true }},
	"a lock is held during callbacks":        {mayCall, func(f *faults) { f.held = true }},
	"callbacks are the publisher's":          {slow, func(f *faults) { f.oneForAll = true }},
	"what is too much is lost without a gap": {slow, func(f *faults) { f.overflows = true }},
	"a cut is no gap":                        {afterCut, func(f *faults) { f.noGap = true }},
	"one subscription hears of the gap":      {afterCut, func(f *faults) { f.gapForOne = true }},
	"a cut ends subscriptions":               {afterCut, func(f *faults) { f.cutIsFinal = true }},
	"messages are lost after the gap":        {orGap, func(f *faults) { f.losesAfterGap = true }},
	"contexts are not looked at":             {stalled, func(f *faults) { f.noContext = true }},
	"a subscription that failed hears":       {stalled, func(f *faults) { f.failedHears = true }},
	"Subscribe succeeds with nobody there":   {stalled, func(f *faults) { f.deaf = true }},
}

func (net *network) topic(topic string) string {
	if net.foldsTopics {
		topic = strings.ToLower(topic)
	}
	if net.cutsTopics {
		topic = topic[:min(len(topic), 63)]
	}
	return topic
}

// deliver gives a message to whom it is for.
func (net *network) deliver(from *node, topic string, data []byte) error {
	if net.textOnly {
		data = bytes.ToValidUTF8(data, []byte("?"))
	}
	switch {
	case net.bounded && len(data) > 1000<<10, net.noEmpty && len(data) == 0:
		return nil
	}
	net.hand(from, topic, data)
	return nil
}

func (net *network) hand(from *node, topic string, data []byte) {
	net.mu.Lock()
	defer net.mu.Unlock()
	to := net.topics[topic]
	if net.prefixTopics {
		for other, more := range net.topics {
			if other != topic && strings.HasPrefix(other, topic) {
				to = append(to[:len(to):len(to)], more...)
			}
		}
	}
	if len(to) == 0 && net.keepsForLater {
		net.kept[topic] = append(net.kept[topic], append([]byte{}, data...))
	}
	shared := append([]byte{}, data...)
	for n, s := range to {
		if net.oneSubscriber && n > 0 {
			break
		}
		mine := append([]byte{}, data...)
		switch {
		case net.notOwn && s.owner == from:
			continue
		case net.keepsData:
			mine = data[:len(data):len(data)]
		case net.sharesData:
			mine = shared
		case net.shuffles && len(data) > 8 && data[7]%64 == 63:
			go func() {
				time.Sleep(time.Millisecond)
				s.put(mine)
			}()
			continue
		}
		if s.failed { // before a later subscription hears it, so that the test that waits for that one finds this
			net.mu.Unlock()
			s.message(mine)
			net.mu.Lock()
			continue
		}
		if net.held || net.oneForAll {
			if net.oneForAll {
				net.mu.Unlock()
			}
			s.message(mine)
			if net.oneForAll {
				net.mu.Lock()
			}
			continue
		}
		s.put(mine)
		if net.double && len(data) > 8 && data[7] == 99 {
			s.put(mine)
		}
		if net.gapAlways {
			s.put(nil)
		}
	}
}

// hangsAgain does not return when it is called again.
func hangsAgain(call func()) func() {
	var calls atomic.Int32
	return func() {
		if calls.Add(1) > 1 {
			select {}
		}
		call()
	}
}

// TestBrokenBrokers checks that the suite finds each fault, with the promise that is named: it runs
// the suite in a process of its own.
func TestBrokenBrokers(t *testing.T) {
	if os.Getenv(faultEnv) != "" {
		return
	}
	for name, fault := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			subtest := regexp.MustCompile(`[ ]`).ReplaceAllString(fault.found, "_")
			cmd := exec.Command(os.Args[0], "-test.run=^TestMemory$/^"+regexp.QuoteMeta(subtest)+"$", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), faultEnv+"="+name)
			out, err := cmd.CombinedOutput()
			if err == nil || strings.Contains(string(out), "no tests to run") || !strings.Contains(string(out), "--- FAIL: TestMemory/") {
				t.Errorf("not found by %q: %v\n%s", fault.found, err, out)
			}
		})
	}
}
