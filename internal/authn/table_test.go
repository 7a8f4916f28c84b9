package authn

import (
	"slices"
	"testing"
)

// step is one event of a table.
type step func(m *Machine) Effects

func steps(s ...step) []step { return s }

func begins(about Cause) step {
	return func(m *Machine) Effects { e, _ := m.Begin(t0, about); return e }
}

// beginsLate is begins after so many seconds.
func beginsLate(seconds int) step {
	return func(m *Machine) Effects { e, _ := m.Begin(at(seconds), byReuse); return e }
}

func enters(t *Token) step {
	return func(m *Machine) Effects { e, _, _ := m.Enter(t0, t); return e }
}

func entersLate(t *Token) step {
	return func(m *Machine) Effects { e, _, _ := m.Enter(at(3), t); return e }
}

func outdates(mark int64, seconds int) step {
	return func(m *Machine) Effects { return m.Outdate(mark, at(seconds)) }
}

func releases(m *Machine) Effects { m.Release(); return Effects{} }
func acts(t *Token) step          { return func(m *Machine) Effects { m.Act(t); return Effects{} } }

func offers(presented, next *Token) step {
	return func(m *Machine) Effects { m.Offer(t0, presented, next); return Effects{} }
}

func offersLate(presented, next *Token) step {
	return func(m *Machine) Effects { m.Offer(at(3), presented, next); return Effects{} }
}

func ends(why Cause) step    { return func(m *Machine) Effects { return m.SessionEnded(why) } }
func closes(why string) step { return func(m *Machine) Effects { return m.Close(why) } }
func ticks(seconds int) step { return func(m *Machine) Effects { return m.Tick(at(seconds)) } }
func proposes(t *Token) step { return func(m *Machine) Effects { m.Propose(t); return Effects{} } }
func identifies(m *Machine) Effects {
	m.Identify(first)
	return Effects{}
}
func presents(m *Machine) Effects { m.Present(); return Effects{} }
func sends(m *Machine) Effects    { m.Sent(); return Effects{} }

func confirms(id string, generation uint64) step {
	return func(m *Machine) Effects { return m.Confirmed(id, generation) }
}

func refuses(final bool) step {
	return func(m *Machine) Effects { e, _ := m.Refuse("refused", final); return e }
}

func evicts(m *Machine) Effects { e, _ := m.Evict("evicted"); return e }

var done, gone, admits step = (*Machine).Done, (*Machine).Gone, (*Machine).Admit

// TestEffects guards what each event does in the states in which it does something of its own.
func TestEffects(t *testing.T) {
	in := steps(presents, begins(byReuse), enters(first), done)
	offered := steps(presents, begins(byReuse), offers(code, first), sends, done)
	renewing := append(slices.Clip(in), begins(byReuse), offers(first, second), done)
	for name, c := range map[string]struct {
		before []step
		event  step
		want   Effects
		phase  Phase
		due    int // the deadline afterwards, in seconds; 0: none
	}{
		"silent, in time":                         {nil, ticks(4), Effects{}, Anonymous, 5},
		"silent, too late":                        {nil, ticks(5), Effects{Closed: true, Refuse: TimedOut, Silent: true}, Closed, 0},
		"presented, and not let in":               {steps(presents), ticks(5), Effects{Closed: true, Refuse: TimedOut}, Closed, 0},
		"the store takes its time":                {steps(begins(byReuse)), ticks(9), Effects{}, Anonymous, 10},
		"the store takes too long":                {steps(begins(byReuse)), ticks(10), Effects{Closed: true, Refuse: StoreTimedOut}, Closed, 0},
		"the store has answered":                  {steps(begins(byReuse)), done, Effects{}, Anonymous, 5},
		"never begun":                             {nil, done, Effects{}, Anonymous, 5},
		"let in":                                  {steps(begins(byReuse)), enters(first), Effects{}, Authenticated, 10},
		"let in, and the call is done":            {steps(begins(byReuse), enters(first)), done, Effects{}, Authenticated, 8},
		"let in without a call":                   {nil, enters(first), Effects{}, Authenticated, 8},
		"expired while the store decides":         {append(slices.Clip(in), begins(byReuse)), ticks(9), Effects{}, Authenticated, 10},
		"and the store takes too long":            {append(slices.Clip(in), begins(byReuse)), ticks(10), Effects{Closed: true, Refuse: StoreTimedOut}, Closed, 0},
		"nothing begins once it has expired":      {in, beginsLate(8), Effects{Closed: true, Refuse: TokenExpired}, Closed, 0},
		"nor once the time to authenticate is up": {steps(presents), beginsLate(5), Effects{Closed: true, Refuse: TimedOut}, Closed, 0},
		"but what has begun goes on":              {append(slices.Clip(in), begins(byReuse)), beginsLate(8), Effects{}, Authenticated, 18},

		"ended by its own call":           {steps(begins(byReuse)), ends(byReuse), Effects{}, Anonymous, 10},
		"also by the first of two":        {steps(begins(byReuse), ends(byReuse), begins("")), done, Effects{Closed: true, Ended: byReuse}, Closed, 0},
		"and told once that is done":      {steps(begins(byReuse), ends(byReuse)), done, Effects{Closed: true, Ended: byReuse}, Closed, 0},
		"unless it was refused meanwhile": {steps(begins(byReuse), ends(byReuse), refuses(true)), done, Effects{}, Closed, 0},
		"not let in by what has ended":    {steps(begins(byReuse), ends(byReuse)), enters(first), Effects{}, Anonymous, 10},
		"nor offered anything":            {steps(begins(byReuse), ends(byReuse)), offers(code, first), Effects{}, Anonymous, 10},
		"ended by another call":           {steps(begins(byReuse)), ends(byRevoke), Effects{Closed: true, Ended: byRevoke}, Closed, 0},
		"ended without a call":            {in, ends(byReuse), Effects{Closed: true, Ended: byReuse}, Closed, 0},
		"ended after the call":            {steps(begins(byReuse), done), ends(byReuse), Effects{Closed: true, Ended: byReuse}, Closed, 0},
		"ended when it was closed":        {steps(closes("x")), ends(byRevoke), Effects{}, Closed, 0},

		"offered: the time to confirm":           {offered, done, Effects{}, Offered, 5},
		"offered: in time":                       {offered, ticks(4), Effects{}, Offered, 5},
		"offered: too late":                      {offered, ticks(5), Effects{Closed: true, Refuse: TimedOut, Unconfirmed: true}, Closed, 0},
		"offered again for another token":        {append(slices.Clip(offered), offersLate(first, second)), done, Effects{}, Offered, 8},
		"offered again for the same token":       {append(slices.Clip(offered), offersLate(code, second)), done, Effects{}, Offered, 5},
		"settled, with the time to authenticate": {offered, func(m *Machine) Effects { m.Settle(); return Effects{} }, Effects{}, Offered, 5},
		"in, and offered the next":               {renewing, done, Effects{}, Authenticated, 5},
		"in, offered, and not confirmed":         {renewing, ticks(5), Effects{Closed: true, Refuse: TimedOut, Unconfirmed: true}, Closed, 0},
		"in, offered, and expiring first": {
			append(slices.Clip(in), begins(byReuse), func(m *Machine) Effects { m.Offer(at(4), first, second); return Effects{} }, done),
			ticks(8), Effects{Closed: true, Refuse: TokenExpired}, Closed, 0,
		},
		"in, and lives on the token it presented": {
			append(slices.Clip(in), begins(byReuse), offers(second, &Token{ID: "third", Generation: 3, ExpiresAt: at(60)}),
				func(m *Machine) Effects { m.Settle(); return Effects{} }), done, Effects{}, Authenticated, 40,
		},
		"expired": {in, ticks(8), Effects{Closed: true, Refuse: TokenExpired}, Closed, 0},

		"a newer token elsewhere":                  {in, confirms("another", 2), Effects{Rotated: true}, Authenticated, 8},
		"its own token confirmed":                  {in, confirms("first", 1), Effects{}, Authenticated, 8},
		"an older token confirmed":                 {in, confirms("code", 0), Effects{}, Authenticated, 8},
		"its own next token confirmed":             {renewing, confirms("second", 2), Effects{}, Authenticated, 5},
		"another branch than its next":             {renewing, confirms("another", 2), Effects{Rotated: true}, Authenticated, 5},
		"a token that it is getting itself":        {append(slices.Clip(in), proposes(second)), confirms("second", 2), Effects{}, Authenticated, 8},
		"a token before what it is getting":        {append(slices.Clip(in), proposes(&Token{ID: "third", Generation: 3})), confirms("another", 2), Effects{}, Authenticated, 8},
		"another branch of what it is getting":     {append(slices.Clip(in), proposes(second)), confirms("another", 2), Effects{Rotated: true}, Authenticated, 8},
		"a newer token, once nothing is proposed":  {append(slices.Clip(in), proposes(second), done), confirms("second", 2), Effects{Rotated: true}, Authenticated, 8},
		"its offered branch confirmed":             {offered, confirms("first", 1), Effects{}, Offered, 5},
		"its offered branch lost":                  {offered, confirms("another", 1), Effects{Closed: true, Refuse: BranchLost}, Closed, 0},
		"its offered branch lost to a later one":   {offered, confirms("another", 2), Effects{Closed: true, Refuse: BranchLost}, Closed, 0},
		"its offered token replaced already":       {append(slices.Clip(offered), confirms("first", 1)), confirms("another", 2), Effects{}, Offered, 5},
		"the same, while the store is asked":       {append(slices.Clip(offered), begins(""), proposes(first), confirms("first", 1), confirms("another", 2)), done, Effects{}, Offered, 5},
		"the same, offered again":                  {append(slices.Clip(offered), confirms("first", 1), offersLate(code, first)), confirms("another", 2), Effects{}, Offered, 5},
		"the same, but offered the next":           {append(slices.Clip(offered), confirms("first", 1), offersLate(first, second)), confirms("another", 2), Effects{Closed: true, Refuse: BranchLost}, Closed, 0},
		"an older branch than what it was offered": {offered, confirms("code", 0), Effects{}, Offered, 5},
		"lost, while the store is asked":           {append(slices.Clip(offered), begins("")), confirms("another", 1), Effects{}, Offered, 10},
		"and told once it has answered":            {append(slices.Clip(offered), begins(""), confirms("another", 1)), done, Effects{Closed: true, Refuse: BranchLost}, Closed, 0},
		"unless the session ended":                 {append(slices.Clip(offered), begins(byReuse), confirms("another", 1), ends(byReuse)), done, Effects{Closed: true, Ended: byReuse}, Closed, 0},
		"nothing offered, nothing lost":            {nil, confirms("another", 1), Effects{}, Anonymous, 5},
		"closed, and nothing to tell":              {append(slices.Clip(in), closes("x")), confirms("another", 2), Effects{}, Closed, 0},

		"out of date":                               {in, outdates(1, 2), Effects{Refresh: true}, Authenticated, 7},
		"out of date, in time":                      {append(slices.Clip(in), outdates(1, 2)), ticks(6), Effects{}, Authenticated, 7},
		"out of date, too late":                     {append(slices.Clip(in), outdates(1, 2)), ticks(7), Effects{Closed: true, Reconnect: true}, Closed, 0},
		"out of date again, and the time goes on":   {append(slices.Clip(in), outdates(1, 2)), outdates(2, 3), Effects{Refresh: true}, Authenticated, 7},
		"out of date, and told once":                {append(slices.Clip(in), outdates(2, 2)), outdates(2, 3), Effects{}, Authenticated, 7},
		"out of date, and expiring first":           {append(slices.Clip(in), outdates(1, 4)), ticks(8), Effects{Closed: true, Refuse: TokenExpired}, Closed, 0},
		"out of date, and yet to confirm":           {append(slices.Clip(renewing), outdates(1, 1)), ticks(5), Effects{Closed: true, Refuse: TimedOut, Unconfirmed: true}, Closed, 0},
		"new enough":                                {append(slices.Clip(in), enters(fresh)), outdates(1, 2), Effects{}, Authenticated, 40},
		"brought up to date":                        {append(slices.Clip(in), outdates(1, 2)), enters(fresh), Effects{}, Authenticated, 40},
		"brought up to date, but not enough":        {append(slices.Clip(in), outdates(2, 2)), entersLate(fresh), Effects{Refresh: true}, Authenticated, 7},
		"let in with what was just outdated":        {steps(begins(byReuse), outdates(1, 2), enters(first)), done, Effects{}, Authenticated, 5},
		"told at once":                              {steps(begins(byReuse), outdates(1, 2)), enters(first), Effects{Refresh: true}, Authenticated, 10},
		"out of date, not in":                       {offered, outdates(1, 2), Effects{}, Offered, 5},
		"out of date, closed":                       {append(slices.Clip(in), closes("x")), outdates(1, 2), Effects{}, Closed, 0},
		"out of date, and the store takes its time": {append(slices.Clip(in), outdates(1, 2), begins(byReuse)), ticks(9), Effects{}, Authenticated, 10},

		"refused, and not in":      {offered, refuses(false), Effects{Closed: true}, Closed, 0},
		"refused, and in":          {in, refuses(false), Effects{}, Authenticated, 8},
		"refused for good, and in": {in, refuses(true), Effects{Closed: true}, Closed, 0},
		"refused twice":            {steps(refuses(true)), refuses(true), Effects{}, Closed, 0},

		"evicted":                            {offered, evicts, Effects{Closed: true}, Closed, 0},
		"not evicted: the store is deciding": {steps(begins(byReuse)), evicts, Effects{}, Anonymous, 10},
		"not evicted: it is in":              {in, evicts, Effects{}, Authenticated, 8},

		"gone, and never in":           {steps(closes("x")), gone, Effects{}, Closed, 0},
		"gone, and was in":             {append(slices.Clip(in), closes("x")), gone, Effects{Depart: true}, Closed, 0},
		"gone, and let in by the app":  {steps(identifies, admits, closes("x")), gone, Effects{Depart: true}, Closed, 0},
		"gone, and then let in":        {steps(identifies, closes("x"), gone), admits, Effects{Depart: true}, Closed, 0},
		"gone, and let in twice":       {steps(identifies, admits, closes("x"), gone), admits, Effects{}, Closed, 0},
		"let in by the app, not gone":  {steps(identifies), admits, Effects{}, Anonymous, 5},
		"known to the app, not let in": {steps(identifies, closes("x")), gone, Effects{}, Closed, 0},
	} {
		m := New(t0, timeout)
		for _, before := range c.before {
			before(&m)
		}
		got := c.event(&m)
		if got != c.want || m.Phase() != c.phase {
			t.Errorf("%s: %+v in phase %d, want %+v in %d", name, got, m.Phase(), c.want, c.phase)
		}
		if due := m.Deadline(); due.IsZero() != (c.due == 0) || !due.IsZero() && !due.Equal(at(c.due)) {
			t.Errorf("%s: the deadline is %v, want %d s", name, due, c.due)
		}
	}
}

// TestIdentity guards which token a connection is known by at each stage.
func TestIdentity(t *testing.T) {
	offered := steps(begins(""), offers(code, first))
	for name, c := range map[string]struct {
		before                   []step
		token, own, known, again *Token // again: what was offered for the code
		entered, admitted        bool
	}{
		"nothing":          {},
		"proposed":         {before: steps(proposes(first)), known: first},
		"identified":       {before: steps(proposes(second), identifies), token: first, known: first},
		"offered":          {before: append(slices.Clip(offered), proposes(second)), own: first, known: first, again: first},
		"admitted":         {before: append(slices.Clip(offered), identifies, admits), token: first, own: first, known: first, again: first, admitted: true},
		"in":               {before: append(slices.Clip(offered), enters(second)), token: second, own: second, known: second, entered: true, admitted: true},
		"in, and offered":  {before: steps(enters(code), begins(""), offers(first, second)), token: first, own: first, known: first, entered: true, admitted: true},
		"was in, is ended": {before: steps(enters(first), closes("x")), token: first, own: first, known: first, entered: true, admitted: true},
	} {
		m := New(t0, timeout)
		for _, before := range c.before {
			before(&m)
		}
		if m.Token() != c.token || m.Own() != c.own || m.Known() != c.known || m.OfferedFor("code") != c.again ||
			m.Entered() != c.entered || m.Admitted() != c.admitted || m.Awaits(first) != (c.again == first) {
			t.Errorf("%s: %v %v %v %v %v %v", name, m.Token(), m.Own(), m.Known(), m.OfferedFor("code"), m.Entered(), m.Admitted())
		}
	}
}

// TestLive guards that events go in and out from Enter until the token expires, and at no other
// time.
func TestLive(t *testing.T) {
	m := New(t0, timeout)
	if m.Live(t0) || m.Behind() {
		t.Error("live before it was let in")
	}
	m.Confirmed("another", 2)
	m.Enter(t0, first)
	if !m.Live(at(7)) || m.Live(at(8)) || !m.Behind() {
		t.Error("not live until its token expires, or not behind")
	}
	m.Enter(t0, second)
	if !m.Live(at(39)) || m.Behind() {
		t.Error("not live with its new token, or still behind")
	}
	if m.Close("x"); m.Live(t0) || m.Behind() {
		t.Error("live after it was closed")
	}
}

// TestHeld guards from when to when events wait, what the app acts by meanwhile, and that a branch
// with claims that are out of date is not offered again.
func TestHeld(t *testing.T) {
	in := steps(enters(first))
	settles := func(m *Machine) Effects { m.Settle(); return Effects{} }
	for name, c := range map[string]struct {
		before   []step
		held     bool
		acted    *Token
		released bool // what Release returns afterwards
	}{
		"not in":                             {steps(), false, nil, false},
		"asked, and not in":                  {steps(identifies, admits), false, first, false},
		"in":                                 {in, false, first, true},
		"in with the same claims":            {append(slices.Clip(in), enters(second)), false, second, true},
		"in with others":                     {append(slices.Clip(in), enters(fresh)), true, first, true},
		"in with others, and released":       {append(slices.Clip(in), enters(fresh), releases), false, fresh, true},
		"in with others than it was asked":   {steps(identifies, admits, enters(fresh)), true, first, true},
		"offered the same claims":            {append(slices.Clip(in), offers(second, fresh)), false, second, true},
		"offered, and lives on others":       {append(slices.Clip(in), offers(fresh, second)), true, first, true},
		"out of date":                        {append(slices.Clip(in), outdates(1, 0)), true, first, false},
		"out of date, and offered newer":     {append(slices.Clip(in), outdates(1, 0), offers(second, fresh)), true, first, false},
		"out of date, and new, unchanged":    {append(slices.Clip(in), outdates(1, 0), enters(&Token{Mark: 1})), true, first, true},
		"out of date, and new, and back":     {append(slices.Clip(in), outdates(1, 0), enters(fresh), outdates(2, 0), enters(&Token{Mark: 2})), true, first, true},
		"out of date while the app acts":     {append(slices.Clip(in), enters(fresh), outdates(2, 0)), true, first, false},
		"out of date when the app has acted": {append(slices.Clip(in), enters(fresh), outdates(2, 0), acts(fresh)), true, fresh, false},
		"acted, and back":                    {append(slices.Clip(in), enters(fresh), outdates(2, 0), acts(fresh), enters(&Token{Mark: 2})), true, fresh, true},
		"out of date, and settled":           {append(slices.Clip(in), offers(first, second), outdates(1, 0), settles), true, first, false},
		"outdated before it was in":          {steps(outdates(1, 0), enters(first)), true, first, false},
		"outdated before, and in with newer": {steps(outdates(1, 0), enters(fresh)), false, fresh, true},
		"closed":                             {append(slices.Clip(in), outdates(1, 0), closes("x")), true, first, false},
	} {
		m := New(t0, timeout)
		for _, before := range c.before {
			before(&m)
		}
		if m.Held() != c.held || m.Acted() != c.acted && (c.acted == nil || m.Acted() == nil || m.Acted().ID != c.acted.ID) {
			t.Errorf("%s: held %v, acted %v", name, m.Held(), m.Acted())
		}
		token := m.Token()
		if m.Release() != c.released || c.released && (m.Held() || m.Acted() != token) || !c.released && m.Held() != c.held {
			t.Errorf("%s: released %v, held %v, acted %v", name, !c.released, m.Held(), m.Acted())
		}
	}

	m := New(t0, timeout)
	m.Offer(t0, code, first)
	if m.OfferedFor("code") != first {
		t.Error("the offered branch is not offered again")
	}
	if m.Outdate(1, t0); m.OfferedFor("code") != nil || !m.Awaits(first) {
		t.Error("a branch that is out of date is offered again, or the client need not confirm it")
	}
}
