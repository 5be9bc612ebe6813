import { render } from 'preact';
import { App } from './app.jsx';
import './styles.css';
import { watchServer } from './talk.js';

render(<App />, document.getElementById('app'));
watchServer();
