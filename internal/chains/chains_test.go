package chains

import (
	"math/rand/v2"
	"testing"
)

type node struct {
	hash uint64
	next uint32
}

type nodes struct {
	all     []node
	touched int // how often Next was called
}

func (n *nodes) Hash(i uint32) uint64 { return n.all[i].hash }

func (n *nodes) Next(i uint32) *uint32 {
	n.touched++
	return &n.all[i].next
}

func (t *Table) finds(i uint32, n *nodes) bool {
	for at := t.First(n.all[i].hash); at != 0; at = n.all[at].next {
		if at == i {
			return true
		}
	}
	return false
}

// TestTable checks that exactly the records that were added and not removed are found, whatever
// the table has grown to.
func TestTable(t *testing.T) {
	var table Table
	random := rand.New(rand.NewPCG(1, 2))
	n := &nodes{all: make([]node, 1)}
	in := make(map[uint32]bool)
	for range 30_000 {
		switch action := random.IntN(10); {
		case action < 7:
			n.all = append(n.all, node{hash: random.Uint64N(1 << 40)})
			i := uint32(len(n.all) - 1)
			table.Add(i, n)
			in[i] = true
		default:
			for i := range in {
				if delete(in, i); action == 7 {
					n.all = append(n.all, node{hash: n.all[i].hash})
					other := uint32(len(n.all) - 1)
					table.Replace(i, other, n)
					in[other] = true
				} else {
					table.Remove(i, n)
				}
				break
			}
		}
	}
	if table.Len() != len(in) {
		t.Errorf("%d records, want %d", table.Len(), len(in))
	}
	for i := range n.all[1:] {
		if i := uint32(i + 1); table.finds(i, n) != in[i] {
			t.Errorf("record %d is found: %v", i, !in[i])
		}
	}
}

// TestTableGrowsInSmallSteps checks that no record added touches more than a few others.
func TestTableGrowsInSmallSteps(t *testing.T) {
	var table Table
	random := rand.New(rand.NewPCG(1, 2))
	n := &nodes{all: make([]node, 1)}
	most := 0
	for i := range uint32(200_000) {
		n.all = append(n.all, node{hash: random.Uint64()})
		before := n.touched
		table.Add(i+1, n)
		most = max(most, n.touched-before)
	}
	if most > 64 {
		t.Errorf("a record added touched %d others", most)
	}
}
