package prove

import (
	"fmt"
	"strings"
	"time"
)

// plot draws the measures over the time as SVG, one below the other, with the bounds of the last third.
func plot(samples []Sample, levels []Level) string {
	const width, height, left, top, gap = 860.0, 90.0, 70.0, 30.0, 44.0
	var b strings.Builder
	total := top + float64(len(measures))*(height+gap)
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="12">`+"\n", left+width+20, total)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	end := time.Second
	if len(samples) > 0 {
		end = samples[len(samples)-1].At
	}
	for i, m := range measures {
		y := top + float64(i)*(height+gap)
		highest := 0.0
		for _, s := range samples {
			highest = max(highest, s.Values[i])
		}
		if i < len(levels) {
			highest = max(highest, levels[i].Most)
		}
		scale := func(v float64) float64 { return y + height - v/max(highest, 1e-9)*height }
		title := m.name
		if i < len(levels) {
			title = fmt.Sprintf("%s: %.1f, then %.1f, %+.1f an hour", m.name, levels[i].Before, levels[i].Then, levels[i].Slope)
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="%.1f">%s</text>`+"\n", left, y-6, title)
		fmt.Fprintf(&b, `<rect x="%.0f" y="%.1f" width="%.0f" height="%.0f" fill="none" stroke="#bbb"/>`+"\n", left, y, width, height)
		fmt.Fprintf(&b, `<text x="%.0f" y="%.1f" text-anchor="end">%.1f</text><text x="%.0f" y="%.1f" text-anchor="end">0</text>`+"\n", left-6, y+10, highest, left-6, y+height)
		fmt.Fprintf(&b, `<text x="%.0f" y="%.1f" text-anchor="end">%s</text>`+"\n", left+width, y+height+14, end.Round(time.Second))
		if i < len(levels) {
			most := scale(levels[i].Most)
			fmt.Fprintf(&b, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#c33" stroke-dasharray="4 3"/>`+"\n", left+width*2/3, most, left+width, most)
		}
		b.WriteString(`<polyline fill="none" stroke="#1565c0" stroke-width="1.5" points="`)
		for _, s := range samples {
			fmt.Fprintf(&b, "%.1f,%.1f ", left+width*float64(s.At)/float64(end), scale(s.Values[i]))
		}
		b.WriteString("\"/>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}
