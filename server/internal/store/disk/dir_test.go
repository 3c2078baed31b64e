package disk_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

func TestNewDirectoriesAreForThisUserAlone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	openDisk(t, dir)
	for _, d := range []string{dir, filepath.Dir(dir), filepath.Join(dir, "db")} {
		info, err := os.Stat(d)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), d)
	}
}

func TestFreshFileSystemIsAnEmptyDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "lost+found"), 0o700))
	s := openDisk(t, dir)
	storetest.Commit(t, s, change(1))
	require.NoError(t, s.Close())
	records, _ := storetest.Load(t, openDisk(t, dir))
	require.Len(t, records, 1)
}

func TestRefusesWhatIsNotADirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, filepath.Join(file, "below")} {
		_, err := disk.Open(path, 0, quiet)
		require.ErrorContains(t, err, path)
		require.ErrorContains(t, err, "not a directory")
	}
}

func TestRefusesADirectoryThatCannotBeWritten(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	denied := &fs.PathError{Op: "open", Path: dir, Err: syscall.EACCES}
	for name, kind := range map[string]errorfs.OpKind{
		"cannot make the directory":     errorfs.OpMkdirAll,
		"cannot write in the directory": errorfs.OpLock,
	} {
		broken := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind == kind {
				return denied
			}
			return nil
		}))
		_, err := disk.OpenFS(dir, broken, quiet)
		require.ErrorContains(t, err, dir)
		require.ErrorContains(t, err, name)
		require.ErrorIs(t, err, fs.ErrPermission)
		require.NotErrorIs(t, err, store.ErrInUse)
	}
}

func TestRefusesSomebodyElsesDirectory(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.tex"), []byte("x"), 0o600))
	_, err := disk.Open(dir, 0, quiet)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, "thesis.tex")
	require.Equal(t, []string{"thesis.tex"}, list(t, dir), "nothing was added")
}

func TestRefusesAStoreInUse(t *testing.T) {
	dir := t.TempDir()
	s := openDisk(t, dir)
	storetest.Commit(t, s, change(1))

	_, err := disk.Open(dir, 0, quiet)
	require.ErrorIs(t, err, store.ErrInUse)
	require.ErrorContains(t, err, dir)

	out, err := child(t, childOpens, dir).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), store.ErrInUse.Error())
	require.Contains(t, string(out), dir)

	storetest.Commit(t, s, change(2))
	require.NoError(t, s.Close())
	out, err = child(t, childOpens, dir).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "opened")
}

func TestRefusesANewerFormat(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, openDisk(t, dir).Close())
	require.NoError(t, os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("lockserver-store 2\n"), 0o600))
	_, err := disk.Open(dir, 0, quiet)
	require.ErrorIs(t, err, store.ErrFormat)
	require.ErrorContains(t, err, "has format 2, this server reads up to 1")
	require.ErrorContains(t, err, dir)
}

func TestRefusesAFormatThatMakesNoSense(t *testing.T) {
	for _, text := range []string{"", "lockserver-store 1", "lockserver-store 0\n", "lockserver-store one\n", "lockserver-store 1\n1\n", "postgres 15\n", "lockserver-store -1\n"} {
		dir := t.TempDir()
		require.NoError(t, openDisk(t, dir).Close())
		require.NoError(t, os.WriteFile(filepath.Join(dir, "FORMAT"), []byte(text), 0o600))
		_, err := disk.Open(dir, 0, quiet)
		require.ErrorIs(t, err, store.ErrCorrupt, "%q", text)
		require.ErrorContains(t, err, "FORMAT")
	}
}

func TestRefusesAStoreWithoutItsFormat(t *testing.T) {
	dir := t.TempDir()
	s := openDisk(t, dir)
	storetest.Commit(t, s, change(1))
	require.NoError(t, s.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "FORMAT")))
	_, err := disk.Open(dir, 0, quiet)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.ErrorContains(t, err, "FORMAT")
}

func TestRefusesAStoreWithoutItsDatabase(t *testing.T) {
	for name, empty := range map[string]func(db string) error{
		"removed": os.RemoveAll,
		"emptied": func(db string) error { return os.Rename(db, db+".away") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, openDisk(t, dir).Close())
			require.NoError(t, empty(filepath.Join(dir, "db")))
			if name == "emptied" {
				require.NoError(t, os.Mkdir(filepath.Join(dir, "db"), 0o700))
			}
			_, err := disk.Open(dir, 0, quiet)
			require.ErrorIs(t, err, store.ErrCorrupt)
			require.ErrorContains(t, err, "database is missing")
			_, err = disk.Open(dir, 0, quiet)
			require.ErrorIs(t, err, store.ErrCorrupt, "the first try has made no new one")
		})
	}
}

func list(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
