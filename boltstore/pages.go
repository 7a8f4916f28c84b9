package boltstore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// pages examines the pages of a file before bolt uses them. Bolt checks no more of a page than its
// kind: if a page is damaged, bolt may free pages that are in use, or billions of pages, or follow
// pages in a circle. Keys in the wrong place are as bad: a page that bolt writes is then not found
// in its parent, which goes on pointing to the old one.
type pages struct {
	file  *os.File
	size  uint64 // of a page
	taken []bool // by page: it is free, or part of one that was seen
	buf   []byte
}

// page is a page of bolt with the overflow that follows it: a header, then elements, then the data
// that they point to.
type page struct {
	id    uint64
	kind  uint16
	count uint64
	room  uint64 // in bytes
}

// subtree is a page with those below it: its first key, as its parent has it, and the key that all
// its keys are less than. nil means any key, and no bound.
type subtree struct {
	id         uint64
	first, end []byte
}

// The layout, in the byte order of the machine.
const (
	headerSize   = 16 // id, kind, count, overflow
	elementSize  = 16
	metaFreelist = headerSize + 32
	metaTx       = headerSize + 48

	branchPage   = 0x01
	leafPage     = 0x02
	freelistPage = 0x10
	bucketFlag   = 0x01
	manyFree     = 0xFFFF // as a count: it is in the first element
)

// examine reads each page that is in use, once, and level by level in the order of the file.
func examine(tx *bolt.Tx, file *os.File) error {
	size := uint64(tx.DB().Info().PageSize)
	if info, err := file.Stat(); err != nil || info.Size() < tx.Size() {
		return fmt.Errorf("%w: it is cut short", ErrCorrupt)
	}
	p := pages{file: file, size: size, taken: make([]bool, uint64(tx.Size())/size), buf: make([]byte, size)}
	if err := p.free(uint64(tx.ID())); err != nil {
		return err
	}
	var buckets []subtree
	err := p.tree([]subtree{{id: uint64(tx.Cursor().Bucket().Root())}}, func(pg page, element uint64) error {
		root, err := p.bucket(pg, element)
		if root > 0 {
			buckets = append(buckets, subtree{id: root})
		}
		return err
	})
	if err != nil {
		return err
	}
	return p.tree(buckets, nil)
}

// free takes the pages that the meta page of this transaction says are free.
func (p *pages) free(tx uint64) error {
	meta := make([]byte, metaTx+8)
	for _, id := range [...]uint64{tx % 2, 1 - tx%2} {
		if err := p.readAt(meta, id*p.size); err != nil {
			return err
		}
		if binary.NativeEndian.Uint64(meta[metaTx:]) == tx {
			break
		}
	}
	pg, err := p.page(binary.NativeEndian.Uint64(meta[metaFreelist:]))
	if err != nil {
		return err
	}
	if pg.kind != freelistPage {
		return p.damaged(pg.id)
	}
	skip := uint64(0)
	if pg.count == manyFree {
		first, err := p.array(pg, 1, 8)
		if err != nil {
			return err
		}
		pg.count, skip = binary.NativeEndian.Uint64(first), 1
		if pg.count > pg.room {
			return p.damaged(pg.id)
		}
	}
	list, err := p.array(pg, skip+pg.count, 8)
	if err != nil {
		return err
	}
	for list = list[8*skip:]; len(list) > 0; list = list[8:] {
		if err := p.take(binary.NativeEndian.Uint64(list), 1); err != nil {
			return err
		}
	}
	return nil
}

// tree looks at trees, a level at a time. each is called for each element of their leaves.
func (p *pages) tree(level []subtree, each func(pg page, element uint64) error) error {
	for len(level) > 0 {
		slices.SortFunc(level, func(a, b subtree) int { return cmp.Compare(a.id, b.id) })
		var below []subtree
		for _, t := range level {
			pg, err := p.page(t.id)
			if err != nil {
				return err
			}
			b, err := p.whole(pg)
			if err != nil {
				return err
			}
			keys, ok := pg.keys(b)
			if !ok || !t.holds(keys) {
				return p.damaged(t.id)
			}
			for n := range keys {
				if pg.kind == branchPage {
					child := subtree{id: binary.NativeEndian.Uint64(b[headerSize+n*elementSize+8:]), first: keys[n], end: t.end}
					if n+1 < len(keys) {
						child.end = keys[n+1]
					}
					below = append(below, child)
				} else if each != nil {
					if err := each(pg, uint64(n)); err != nil {
						return err
					}
				}
			}
		}
		level = below
	}
	return nil
}

// holds reports whether the keys are in order and within the bounds of their page.
func (t subtree) holds(keys [][]byte) bool {
	if len(keys) == 0 {
		return t.first == nil
	}
	if t.first != nil && !bytes.Equal(keys[0], t.first) {
		return false
	}
	before := []byte{} // no key is empty
	for _, key := range keys {
		if bytes.Compare(before, key) >= 0 {
			return false
		}
		before = key
	}
	return t.end == nil || bytes.Compare(before, t.end) < 0
}

// bucket returns the root page of a bucket that is an element of a leaf. It is 0 if the bucket is
// so small that it is stored in the element.
func (p *pages) bucket(pg page, element uint64) (root uint64, err error) {
	at := headerSize + element*elementSize
	e := make([]byte, elementSize)
	if err := p.readAt(e, pg.id*p.size+at); err != nil {
		return 0, err
	}
	pos, key, value := uint64(binary.NativeEndian.Uint32(e[4:])), uint64(binary.NativeEndian.Uint32(e[8:])), uint64(binary.NativeEndian.Uint32(e[12:]))
	if binary.NativeEndian.Uint32(e)&bucketFlag == 0 || value < 16 {
		return 0, p.damaged(pg.id)
	}
	b := make([]byte, min(value, p.size))
	if err := p.readAt(b, pg.id*p.size+at+pos+key); err != nil {
		return 0, err
	}
	root, b = binary.NativeEndian.Uint64(b), b[16:]
	if root > 0 {
		return root, nil
	}
	if len(b) < headerSize {
		return 0, p.damaged(pg.id)
	}
	inside := header(b)
	inside.room = uint64(len(b))
	keys, ok := inside.keys(b)
	if !ok || inside.kind != leafPage || !(subtree{}).holds(keys) {
		return 0, p.damaged(pg.id)
	}
	return 0, nil
}

func header(b []byte) page {
	return page{id: binary.NativeEndian.Uint64(b), kind: binary.NativeEndian.Uint16(b[8:]), count: uint64(binary.NativeEndian.Uint16(b[10:]))}
}

// page reads a page, and takes it with its overflow.
func (p *pages) page(id uint64) (page, error) {
	if id >= uint64(len(p.taken)) {
		return page{}, p.damaged(id)
	}
	p.buf = p.buf[:p.size]
	if err := p.readAt(p.buf, id*p.size); err != nil {
		return page{}, err
	}
	pg, whole := header(p.buf), 1+uint64(binary.NativeEndian.Uint32(p.buf[12:]))
	pg.room = whole * p.size
	if pg.id != id {
		return page{}, p.damaged(id)
	}
	return pg, p.take(id, whole)
}

// array is what follows the header of the page that was read last.
func (p *pages) array(pg page, n, each uint64) ([]byte, error) {
	if n > (pg.room-headerSize)/each {
		return nil, p.damaged(pg.id)
	}
	b, err := p.upTo(pg, headerSize+n*each)
	if err != nil {
		return nil, err
	}
	return b[headerSize:][:n*each], nil
}

// whole is all of the page that was read last.
func (p *pages) whole(pg page) ([]byte, error) { return p.upTo(pg, pg.room) }

// upTo is the page that was read last, as far as end at least.
func (p *pages) upTo(pg page, end uint64) ([]byte, error) {
	if read := uint64(len(p.buf)); end > read {
		p.buf = slices.Grow(p.buf, int(end-read))[:end]
		if err := p.readAt(p.buf[read:], pg.id*p.size+read); err != nil {
			return nil, err
		}
	}
	return p.buf, nil
}

// keys is a page's keys, if it is one of a tree and what its elements point to lies in it.
func (pg page) keys(b []byte) (keys [][]byte, ok bool) {
	if pg.kind != leafPage && (pg.kind != branchPage || pg.count == 0) || pg.count > (pg.room-headerSize)/elementSize {
		return nil, false
	}
	for n := range pg.count {
		at := headerSize + n*elementSize
		e := b[at:]
		pos, size, value := uint64(binary.NativeEndian.Uint32(e)), uint64(binary.NativeEndian.Uint32(e[4:])), uint64(0)
		if pg.kind == leafPage {
			pos, size, value = size, uint64(binary.NativeEndian.Uint32(e[8:])), uint64(binary.NativeEndian.Uint32(e[12:]))
		}
		if at+pos+size+value > pg.room {
			return nil, false
		}
		key := b[at+pos:][:size]
		if pg.kind == branchPage {
			key = bytes.Clone(key) // it is looked at again once the page has gone
		}
		keys = append(keys, key)
	}
	return keys, true
}

// take notes that so many pages are in use, or free: each is one thing once.
func (p *pages) take(id, n uint64) error {
	if end := uint64(len(p.taken)); id < 2 || id >= end || n > end-id { // 0 and 1 are the meta pages
		return p.damaged(id)
	}
	for k := range n {
		if p.taken[id+k] {
			return p.damaged(id)
		}
		p.taken[id+k] = true
	}
	return nil
}

func (p *pages) readAt(b []byte, at uint64) error {
	if n, err := p.file.ReadAt(b, int64(at)); n < len(b) {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return nil
}

func (p *pages) damaged(id uint64) error { return fmt.Errorf("%w: page %d", ErrCorrupt, id) }
