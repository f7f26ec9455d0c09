// Starts the page: reads what it must know of the deployment, then shows the chat.
import './no-eval'; // before what it is for
import { createRoot } from 'react-dom/client';

import { App, type PageConfig } from './App';
import { type CognitoConfig, SessionStore, TokenRefresher } from './auth';
import './styles.css';

const root = createRoot(document.getElementById('root') as HTMLElement);

async function start(): Promise<void> {
  const response = await fetch('config.json');
  if (!response.ok) throw new Error(`config.json: ${response.status}`);
  const config = (await response.json()) as CognitoConfig & PageConfig;
  const store = new SessionStore({ clientId: config.clientId });
  root.render(<App config={config} store={store} refresher={new TokenRefresher(config, store)} />);
}

start().catch(() => {
  root.render(<p role="alert">The chat could not be loaded. Please reload the page.</p>);
});
