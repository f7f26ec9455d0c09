// The page: who is signed in, the chat, and the mailbox beside it where there is one.
import { type ReactNode, useEffect, useState } from 'react';

import type { AppConfig, Session, SessionStore, TokenRefresher } from './auth';
import { ChatPanel } from './ChatPanel';
import { type Challenge, createAgentTransport, SIGN_IN_ENDED } from './chat';
import { Mailbox } from './Mailbox';

/** All that React may know of a session: its tokens stay in the store. */
export type User = { email: string; guestId: string };

export type SignIn = { user: User; pendingQuestion: string | null };

type AppProps = { config: AppConfig; store: SessionStore; refresher: TokenRefresher };

const ONLY_THIS_TAB =
  'Your browser stores nothing for this page: you are signed in until you close it.';
const SIGNED_OUT = 'You are signed out.';

export function App({ config, store, refresher }: AppProps): ReactNode {
  const [user, setUser] = useState(() => userOf(store.read()));
  const [challenge, setChallenge] = useState<Challenge | null>(null);
  const [signIn, setSignIn] = useState<SignIn | null>(null);
  const [notice, setNotice] = useState('');
  // Another number is another chat: it starts empty.
  const [chatNumber, setChatNumber] = useState(1);
  const [transport] = useState(() =>
    createAgentTransport({
      config,
      store,
      refresher,
      onChallenge: setChallenge,
      onSignedIn: ({ email, guestId }, pendingQuestion) =>
        setSignIn({ user: { email, guestId }, pendingQuestion }),
    }),
  );

  useEffect(
    () =>
      store.subscribe(({ previous, current, userChanged, fromOtherTab, signedOutReason }) => {
        if (!userChanged) return;
        setUser(userOf(current));
        setChallenge(null);
        if (current) setNotice(store.persistent ? '' : ONLY_THIS_TAB);
        else setNotice(signedOutReason === 'expired' ? SIGN_IN_ENDED : SIGNED_OUT);
        // Only the visitor who was anonymous until now goes on with her chat. Whoever comes after
        // a guest must not see what was said to her.
        if (previous || fromOtherTab) {
          setSignIn(null);
          setChatNumber((number) => number + 1);
        }
      }),
    [store],
  );

  useEffect(() => refresher.keepFresh(), [refresher]);

  return (
    <div className="page">
      <header>
        <h1>Guest desk</h1>
        {user && (
          <div className="account">
            <p role="status" aria-label={`Signed in as ${user.email}`}>
              <span className="hidden">Signed in as </span>
              {user.email}
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
          challenge={challenge}
          signIn={signIn}
          onSignInShown={() => setSignIn(null)}
          onSend={() => setNotice('')}
          onCodeClosed={() => setChallenge(null)}
        />
        <Mailbox polling={challenge?.open === true} />
      </main>
    </div>
  );
}

function userOf(session: Session | null): User | null {
  return session && { email: session.email, guestId: session.guestId };
}
