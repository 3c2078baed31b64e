package prove

import (
	"fmt"
	"slices"
	"time"
)

// Level compares the last third of a run with the second; the first is for the server to warm up in.
type Level struct {
	Name         string
	Before, Then float64 // medians
	Most         float64 // that Then may be
	Slope        float64 // an hour, by least squares over both thirds
	Slower       float64 // how many times as late a sleep ended, which says how busy others kept the machine; only of Slowest
}

// Grows reports whether it does, beyond what it may.
func (l Level) Grows() bool { return l.Then > l.Most }

func (l Level) String() string {
	text := fmt.Sprintf("%-21s %8.1f, then %8.1f (%.1f at most), %+.1f an hour", l.Name, l.Before, l.Then, l.Most, l.Slope)
	if l.Slower > 0 {
		text += fmt.Sprintf("; sleeps ended %.2f times as late", l.Slower)
	}
	return text
}

// levels are those of each measure; none if there are too few samples.
func levels(samples []Sample) (all []Level) {
	third := len(samples) / 3
	if third < 3 {
		return nil
	}
	middle, last := samples[len(samples)-2*third:len(samples)-third], samples[len(samples)-third:]
	for i, m := range measures {
		value := func(s Sample) float64 { return s.Values[i] }
		l := Level{Name: m.name, Before: median(middle, value), Then: median(last, value), Slope: slope(samples[len(samples)-2*third:], i)}
		l.Most = l.Before*(1+m.share) + m.more
		if m.name == Slowest {
			late := func(s Sample) float64 { return s.Late }
			l.Slower = median(last, late) / max(median(middle, late), 0.1)
			l.Most = l.Before*max(l.Slower, 1)*(1+m.share) + m.more
		}
		all = append(all, l)
	}
	return all
}

func median(samples []Sample, of func(Sample) float64) float64 {
	values := make([]float64, len(samples))
	for i, s := range samples {
		values[i] = of(s)
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// slope fits a line, and returns by how much it rises in an hour.
func slope(samples []Sample, of int) float64 {
	var t, v float64
	for _, s := range samples {
		t += s.At.Seconds()
		v += s.Values[of]
	}
	t, v = t/float64(len(samples)), v/float64(len(samples))
	var up, along float64
	for _, s := range samples {
		d := s.At.Seconds() - t
		up += d * (s.Values[of] - v)
		along += d * d
	}
	if along == 0 {
		return 0
	}
	return up / along * time.Hour.Seconds()
}
