import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { useMatches } from '../hooks'
import type { Figures } from '../wire'

export interface Line {
  label: string
  of: (f: Figures) => number | null
}

interface Props {
  title: string
  lines: Line[]
  points: Figures[]
  format: (n: number) => string
}

const height = 150 // as style.css has it
/** The second line is dashed, for those who see no colours. */
const dashes = [[], [5, 4]]

/** Plot draws some figures over the last hour. */
export function Plot({ title, lines, points, format }: Props) {
  const box = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot>(undefined)
  const data: uPlot.AlignedData = [points.map((p) => Date.parse(p.time) / 1000), ...lines.map((l) => points.map(l.of))]
  const latest = useRef(data)
  latest.current = data
  const dark = useMatches('(prefers-color-scheme: dark)')

  // biome-ignore lint/correctness/useExhaustiveDependencies: the colours are those of the scheme
  useEffect(() => {
    const element = box.current
    if (!element) return
    const made = new uPlot(options(lines, format, element.clientWidth), latest.current, element)
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      made.destroy()
    }
  }, [lines, format, dark])
  // biome-ignore lint/correctness/useExhaustiveDependencies: the data are made of the points
  useEffect(() => plot.current?.setData(latest.current), [points])

  return (
    <figure class="plot">
      <figcaption>{title}</figcaption>
      <div ref={box} class="canvas" role="img" aria-label={`${title}, over the last hour: ${said(lines, points, format)}`} />
    </figure>
  )
}

/** said tells in words what the plot shows. */
function said(lines: Line[], points: Figures[], format: (n: number) => string): string {
  const of = (l: Line) => {
    const values = points.map(l.of).filter((v) => v !== null)
    const last = values.at(-1)
    return last === undefined
      ? `${l.label}: no figures`
      : `${l.label}: now ${format(last)}, at most ${format(Math.max(...values))}`
  }
  return lines.map(of).join('; ')
}

function options(lines: Line[], format: (n: number) => string, width: number): uPlot.Options {
  const style = getComputedStyle(document.documentElement)
  const colour = (name: string) => style.getPropertyValue(name).trim()
  const font = '11px system-ui, sans-serif'
  const axis = { stroke: colour('--quiet'), font, grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } }
  return {
    width,
    height,
    cursor: { sync: { key: 'overview' }, y: false, drag: { x: false, y: false } },
    legend: { live: true },
    scales: { y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
    axes: [
      { ...axis, values: (_, at) => at.map(clock), space: 70 },
      { ...axis, values: (_, values) => values.map(format), size: 62, space: 34 },
    ],
    series: [
      { label: 'at', value: (_, at) => (at === null ? '–' : clock(at, true)) },
      ...lines.map((l, i) => ({
        label: l.label,
        stroke: colour(`--plot-${i + 1}`),
        width: 1.5,
        dash: dashes[i] ?? [],
        points: { show: false },
        value: (_: uPlot, v: number | null) => (v === null ? '–' : format(v)),
      })),
    ],
  }
}

function clock(at: number, withSeconds: unknown = false): string {
  const style: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit' }
  if (withSeconds === true) style.second = '2-digit'
  return new Date(at * 1000).toLocaleTimeString('en-GB', style)
}
