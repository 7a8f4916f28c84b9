// Package chains is a hash table without pointers: chains that go through the records themselves.
// It grows by linear hashing: each new record splits at most one chain, so no step ever rehashes
// the whole table.
package chains

import (
	"math/bits"

	"github.com/z-open/socketauth/internal/chunks"
)

// load is how many records a chain has on average, at most.
const load = 2

const pageSize = 256

// Nodes are the records of a table, which are known by numbers other than 0.
type Nodes interface {
	Hash(n uint32) uint64
	Next(n uint32) *uint32 // where the record keeps the number of the next in its chain
}

// A Table has the first records of the chains. The zero value is empty and ready to use. It does
// not shrink.
type Table struct {
	pages  []*[pageSize]uint32
	made   chunks.Source[uint32]
	chains uint64
	count  int
}

// chain returns the number of the chain for a hash. Chains up to a power of two were split already,
// and above it each one is half of an earlier one.
func (t *Table) chain(hash uint64) uint64 {
	mask := uint64(1)<<bits.Len64(t.chains-1) - 1
	if n := hash & mask; n < t.chains {
		return n
	}
	return hash & (mask >> 1)
}

func (t *Table) head(chain uint64) *uint32 { return &t.pages[chain/pageSize][chain%pageSize] }

// First returns the first record of the chain for a hash, or 0. The others follow by Next.
func (t *Table) First(hash uint64) uint32 {
	if t.chains == 0 {
		return 0
	}
	return *t.head(t.chain(hash))
}

// Len returns how many records the table has.
func (t *Table) Len() int { return t.count }

// Add adds a record.
func (t *Table) Add(n uint32, nodes Nodes) {
	if t.count++; t.count > load*int(t.chains) {
		t.split(nodes)
	}
	t.push(n, nodes)
}

func (t *Table) push(n uint32, nodes Nodes) {
	head := t.head(t.chain(nodes.Hash(n)))
	*nodes.Next(n), *head = *head, n
}

// split adds a chain, with the records that belong there from now on.
func (t *Table) split(nodes Nodes) {
	if t.chains%pageSize == 0 {
		t.pages = append(t.pages, (*[pageSize]uint32)(t.made.Page(pageSize)))
	}
	added := t.chains
	if t.chains++; added == 0 {
		return
	}
	old := t.head(added &^ (1 << (bits.Len64(added) - 1)))
	n := *old
	for *old = 0; n != 0; {
		next := *nodes.Next(n)
		t.push(n, nodes)
		n = next
	}
}

// Remove removes a record.
func (t *Table) Remove(n uint32, nodes Nodes) {
	t.count--
	link, next := t.link(n, nodes), nodes.Next(n)
	*link, *next = *next, 0
}

// Replace puts another record of the same hash in the place of one.
func (t *Table) Replace(old, n uint32, nodes Nodes) {
	link, next := t.link(old, nodes), nodes.Next(old)
	*link, *nodes.Next(n), *next = n, *next, 0
}

// link returns what refers to a record.
func (t *Table) link(n uint32, nodes Nodes) *uint32 {
	link := t.head(t.chain(nodes.Hash(n)))
	for *link != n {
		link = nodes.Next(*link)
	}
	return link
}
