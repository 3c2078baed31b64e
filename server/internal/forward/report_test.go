package forward

import (
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReportsMeetTheirAnswers(t *testing.T) {
	var r Reports
	told := map[string]int64{}
	await := func(name string) { r.Await(name, func(handed int64) { told[name] = handed }) }
	await("answer first")
	await("never reported")
	require.Empty(t, told)
	r.Take(Report{Name: "report first", Handed: 7})
	r.Take(Report{Name: "answer first", Handed: 5})
	await("report first")
	require.Equal(t, map[string]int64{"answer first": 5, "report first": 7}, told)
	r.Take(Report{Name: "answer first", Handed: 9})
	require.EqualValues(t, 5, told["answer first"], "it is told once")
}

// What awaits the other for long is forgotten, and so is the oldest of very many.
func TestReportsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Reports
		told := 0
		await := func(name string) { r.Await(name, func(int64) { told++ }) }
		await("a")
		time.Sleep(awaitReport / 2)
		r.Take(Report{Name: "a"})
		require.Equal(t, 1, told)
		await("b")
		for range 2 {
			time.Sleep(awaitReport + 1)
			await("others")
		}
		r.Take(Report{Name: "b"})
		require.Equal(t, 1, told)
		for i := range 3 * mostAwaited {
			await(fmt.Sprint(i))
		}
		require.LessOrEqual(t, len(r.now)+len(r.before), 2*mostAwaited)
		r.Take(Report{Name: fmt.Sprint(3*mostAwaited - 1)})
		require.Equal(t, 2, told)
	})
}

func TestReportsAreReadStrictly(t *testing.T) {
	for value, want := range map[string]Report{"0": {Name: "n"}, "12": {Name: "n", Handed: 12}, draining: {Name: "n", Draining: true}} {
		got, is, p := ReportIn(&http.Request{Header: http.Header{header: {"n"}, reportHeader: {value}}})
		require.True(t, is)
		require.Nil(t, p)
		require.Equal(t, want, got)
	}
	for _, value := range []string{"", "-1", "x", "1.5"} {
		_, is, p := ReportIn(&http.Request{Header: http.Header{header: {"n"}, reportHeader: {value}}})
		require.True(t, is)
		require.NotNil(t, p, value)
	}
	_, is, _ := ReportIn(&http.Request{Header: http.Header{header: {"n"}}})
	require.False(t, is)
}
