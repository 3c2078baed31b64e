import { render } from 'preact'
import { App } from './views/app'
import 'uplot/dist/uPlot.min.css'
import './style.css'

render(<App />, document.body)
