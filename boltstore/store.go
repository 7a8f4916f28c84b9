package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/z-open/socketauth/blacklist"
)

var (
	// ErrClosed is what a store's methods return after its Close.
	ErrClosed = errors.New("boltstore: the store is closed")
	// ErrInUse is what Open returns while another store, in this process or another, has the file
	// open.
	ErrInUse = errors.New("boltstore: the file is open elsewhere")
	// ErrCorrupt is what methods return if the file is no longer what was written to it.
	ErrCorrupt = errors.New("boltstore: the file is damaged, or not a blacklist")
)

// lockPatience is how long Open waits for a file that another process is about to close.
const lockPatience = time.Second

// Store is a blacklist.Store in a file. It is safe for concurrent use.
type Store struct {
	db       *bolt.DB
	writer   *writer
	watchers blacklist.Watchers
	closed   context.Context // ends at Close
	close    context.CancelFunc
}

var _ blacklist.Store = (*Store)(nil)

// Open opens the store in the file at path and creates the file if it does not exist; its folder
// has to exist. Open reads all of an existing file, and writes nothing to one that is damaged.
func Open(path string) (*Store, error) {
	db, file, err := openFile(path)
	if err != nil {
		return nil, err
	}
	s := &Store{db: db, writer: newWriter(db, file)}
	s.closed, s.close = context.WithCancel(context.Background())
	return s, nil
}

// Close waits for the calls that have begun and releases the file. Later calls return ErrClosed, as
// do calls of Watch that have not ended yet. If the file was found damaged, Close returns
// ErrCorrupt at once.
func (s *Store) Close() error {
	s.close()
	return s.writer.close()
}

func openFile(path string) (*bolt.DB, *os.File, error) {
	info, err := os.Stat(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	if err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		// Examine it before bolt may write, because bolt then reads the list of free pages and
		// trusts it.
		db, _, err := openBolt(path, true, func(db *bolt.DB, file *os.File) error {
			return db.View(func(tx *bolt.Tx) error { return examine(tx, file) })
		})
		if err == nil {
			err = db.Close()
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return openBolt(path, false, func(db *bolt.DB, _ *os.File) error {
		if isNew {
			if err := syncFolder(filepath.Dir(path)); err != nil {
				return fmt.Errorf("boltstore: %w", err)
			}
		}
		empty := false
		err := db.View(func(tx *bolt.Tx) (err error) {
			empty, err = fits(tx)
			return err
		})
		if err == nil && empty {
			err = db.Update(func(tx *bolt.Tx) error { return begin(tx, time.Now()) })
		}
		return err
	})
}

// openBolt opens the file, and closes it if look returns an error.
func openBolt(path string, readOnly bool, look func(*bolt.DB, *os.File) error) (db *bolt.DB, file *os.File, err error) {
	defer func() {
		switch {
		case err == nil:
		case db != nil:
			err = errors.Join(err, db.Close())
		case file != nil:
			_ = file.Close() // bolt has panicked; otherwise it is closed
		}
	}()
	defer contain(&err)
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))

	opened, err := bolt.Open(path, 0o600, &bolt.Options{
		Timeout: lockPatience, FreelistType: bolt.FreelistMapType, NoStatistics: true, ReadOnly: readOnly,
		OpenFile: func(name string, flag int, mode fs.FileMode) (_ *os.File, err error) {
			file, err = os.OpenFile(name, flag, mode)
			return file, err
		},
	})
	var pathErr *fs.PathError
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, file, fmt.Errorf("%w: %s", ErrInUse, path)
	case errors.As(err, &pathErr):
		return nil, file, fmt.Errorf("boltstore: %w", err)
	case err != nil:
		return nil, file, fmt.Errorf("%w: %s: %w", ErrCorrupt, path, err)
	}
	db = opened
	if err := look(db, file); err != nil {
		return db, file, fmt.Errorf("%w (%s)", err, path)
	}
	return db, file, nil
}

// syncFolder makes the name of a new file survive a power cut too.
func syncFolder(path string) error {
	if runtime.GOOS == "windows" { // which has no such thing
		return nil
	}
	folder, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// contain turns a panic of bolt into an error. If its file is damaged, bolt panics or reads beyond
// the end of the file.
func contain(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrCorrupt, r)
	}
}

// view runs f in a read transaction, in the caller's goroutine.
func (s *Store) view(ctx context.Context, f func(tx *bolt.Tx) error) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := s.writer.fault(); err != nil {
		return err
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	var inside *bolt.Tx
	defer func() {
		if r := recover(); r != nil {
			err = s.writer.breaks(r, inside)
		}
	}()
	err = s.db.View(func(tx *bolt.Tx) error {
		inside = tx
		return f(tx)
	})
	if errors.Is(err, berrors.ErrDatabaseNotOpen) {
		return ErrClosed
	}
	return err
}
