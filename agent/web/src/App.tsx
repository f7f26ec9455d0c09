// The page: who is signed in, the chat, and the mailbox beside it where there is one.
import { type ReactNode, useCallback, useEffect, useState } from 'react';

import type { SessionStore, TokenRefresher } from './auth';
import { ChatPanel, type SignIn } from './ChatPanel';
import { type AgentConfig, createAgentTransport, type PendingCode } from './chat';
import { Mailbox } from './Mailbox';
import { WORDS } from './words';

export type PageConfig = AgentConfig & {
  /** Where the mails of a local stack can be read. */
  mailboxEndpoint?: string;
};

type AppProps = { config: PageConfig; store: SessionStore; refresher: TokenRefresher };

const ONLY_THIS_TAB =
  'Your browser stores nothing for this page: you are signed in until you close it.';
const SIGNED_OUT = 'You are signed out.';

export function App({ config, store, refresher }: AppProps): ReactNode {
  // All that React knows of the session: its tokens stay in the store.
  const [email, setEmail] = useState(() => store.read()?.email ?? null);
  const [pendingCode, setPendingCode] = useState<PendingCode | null>(null);
  const [signIn, setSignIn] = useState<SignIn | null>(null);
  const [notice, setNotice] = useState('');
  // The chat with another number is a new one: it starts empty.
  const [chatNumber, setChatNumber] = useState(1);
  const [transport] = useState(() =>
    createAgentTransport({
      config,
      store,
      refresher,
      onPendingCode: setPendingCode,
      onSignedIn: ({ email }, pendingQuestion) => setSignIn({ email, pendingQuestion }),
    }),
  );

  useEffect(
    () =>
      store.subscribe(({ previous, current, userChanged, fromOtherTab, signedOutReason }) => {
        if (!userChanged) return;
        setEmail(current?.email ?? null);
        setPendingCode(null);
        if (current) setNotice(store.persistent ? '' : ONLY_THIS_TAB);
        else setNotice(signedOutReason === 'expired' ? WORDS.sign_in_ended : SIGNED_OUT);
        // Only a visitor who was anonymous until now goes on with their chat. Whoever comes after a
        // member must not see what was said to them.
        if (previous || fromOtherTab) {
          setSignIn(null);
          setChatNumber((number) => number + 1);
        }
      }),
    [store],
  );

  useEffect(() => refresher.keepFresh(), [refresher]);

  const onSignInShown = useCallback(() => setSignIn(null), []);

  return (
    <div className="page">
      <header>
        <h1>Guest desk</h1>
        {email !== null && (
          <div className="account">
            <p role="status" aria-label={`Signed in as ${email}`}>
              <span className="hidden">Signed in as </span>
              {email}
            </p>
            <button type="button" onClick={() => void refresher.signOut()}>
              Sign out
            </button>
          </div>
        )}
      </header>
      <p className="notice" role="status" aria-label="Notice">
        {notice}
      </p>
      <main>
        <ChatPanel
          key={chatNumber}
          transport={transport}
          pendingCode={pendingCode}
          signIn={signIn}
          onSignInShown={onSignInShown}
          onSend={() => setNotice('')}
          onCodeClosed={() => setPendingCode(null)}
        />
        {config.mailboxEndpoint && (
          <Mailbox endpoint={config.mailboxEndpoint} polling={pendingCode?.open === true} />
        )}
      </main>
    </div>
  );
}
