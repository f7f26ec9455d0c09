// The chat itself: the messages as they stream in, the code box, and where to type.
import { useChat } from '@ai-sdk/react';
import type { UIMessage } from 'ai';
import {
  type KeyboardEvent,
  type ReactNode,
  type SubmitEvent,
  type UIEvent,
  useCallback,
  useEffect,
  useLayoutEffect,
  useRef,
  useState,
} from 'react';

import { CodeForm } from './CodeForm';
import { type AgentTransport, MAX_PROMPT_CHARS, type PendingCode } from './chat';
import { inWords } from './words';

export type SignIn = { email: string; pendingQuestion: string | null };

type ChatPanelProps = {
  transport: AgentTransport;
  pendingCode: PendingCode | null;
  /** A sign-in that the chat does not show yet. */
  signIn: SignIn | null;
  onSignInShown: () => void;
  onSend: () => void;
  onCodeClosed: () => void;
};

const CODE_ENTERED = 'Code entered';
/** This near to the end, the visitor is taken to read along. */
const AT_END_PX = 40;

export function ChatPanel(props: ChatPanelProps): ReactNode {
  const { transport, pendingCode, signIn, onSignInShown, onSend, onCodeClosed } = props;
  const { messages, setMessages, sendMessage, regenerate, status, error, clearError, stop } =
    useChat({ transport });
  const busy = status === 'submitted' || status === 'streaming';
  const box = useRef<HTMLTextAreaElement>(null);
  const log = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const codeWanted = pendingCode?.open === true;
  // What is sent while a code is waited for may be one, and a code is never sent again.
  const [mayBeCode, setMayBeCode] = useState(false);

  // The answer ends with the chat it is in.
  useEffect(() => () => void stop(), [stop]);

  useEffect(() => {
    if (!signIn || busy) return;
    onSignInShown();
    setMessages((shown) => [...shown, line(`Signed in as ${signIn.email}`)]);
    if (!signIn.pendingQuestion) return;
    setMayBeCode(false);
    void sendMessage({ text: signIn.pendingQuestion });
  }, [signIn, busy, onSignInShown, setMessages, sendMessage]);

  useEffect(() => {
    if (!codeWanted) box.current?.focus();
  }, [codeWanted]);

  // Follows the answer, unless the visitor has scrolled back.
  const showEnd = useCallback(() => {
    if (log.current && atEnd.current) log.current.scrollTop = log.current.scrollHeight;
  }, []);
  useLayoutEffect(showEnd);
  useEffect(() => {
    const { current } = log;
    if (!current) return;
    // The log gets smaller too, when the code box opens below it.
    const resized = new ResizeObserver(showEnd);
    resized.observe(current);
    return () => resized.disconnect();
  }, [showEnd]);

  function noteWhere({ currentTarget: { scrollHeight, scrollTop, clientHeight } }: UIEvent): void {
    atEnd.current = scrollHeight - scrollTop - clientHeight < AT_END_PX;
  }

  function send(text: string, code?: string): boolean {
    if (busy || !text.trim()) return false;
    begin();
    setMayBeCode(codeWanted);
    void sendMessage({ text }, code ? { body: { code } } : {});
    return true;
  }

  /** Ask the last question again; the new answer takes the place of the old one. */
  function tryAgain(): void {
    if (busy) return;
    begin();
    void regenerate();
  }

  function begin(): void {
    clearError();
    onSend();
    atEnd.current = true;
    box.current?.focus(); // the button just pressed may go, or be disabled
  }

  function closeCode(): void {
    onCodeClosed();
    box.current?.focus();
  }

  function submit(event: SubmitEvent<HTMLFormElement>): void {
    event.preventDefault();
    if (!box.current) return;
    if (send(box.current.value)) box.current.value = '';
    box.current.focus();
  }

  function sendOnEnter(event: KeyboardEvent<HTMLTextAreaElement>): void {
    if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing) return;
    event.preventDefault();
    event.currentTarget.form?.requestSubmit();
  }

  return (
    <div className="chat">
      <div
        className="log"
        ref={log}
        role="log"
        aria-label="Conversation"
        aria-busy={busy}
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, by keyboard too
        tabIndex={0}
        onScroll={noteWhere}
      >
        {messages.length === 0 && (
          <p className="line">Ask about the house, or say “Show my bookings”.</p>
        )}
        {messages.map((message) => (
          <Message key={message.id} message={message} />
        ))}
        {busy && messages.at(-1)?.role === 'user' && <p className="line">Writing …</p>}
      </div>
      <div className="trouble">
        <p className="error" role="alert">
          {error && inWords(error)}
        </p>
        {error && !mayBeCode && (
          <button type="button" onClick={tryAgain}>
            Try again
          </button>
        )}
      </div>
      {pendingCode && (
        <CodeForm
          pendingCode={pendingCode}
          busy={busy}
          onCode={(code) => send(CODE_ENTERED, code)}
          onNewCode={() => send('Send a new code')}
          onClose={closeCode}
        />
      )}
      <form className="composer" onSubmit={submit}>
        <label className="hidden" htmlFor="message">
          Message
        </label>
        <textarea
          id="message"
          ref={box}
          rows={1}
          maxLength={MAX_PROMPT_CHARS}
          placeholder="Type a message"
          onKeyDown={sendOnEnter}
        />
        <button type="submit" className="primary" disabled={busy}>
          Send
        </button>
      </form>
    </div>
  );
}

function Message({ message }: { message: UIMessage }): ReactNode {
  const text = message.parts.map((part) => (part.type === 'text' ? part.text : '')).join('');
  if (!text) return null;
  if (message.role === 'system') return <p className="line">{text}</p>;
  return (
    <div className={`message ${message.role}`}>
      <span className="hidden">{message.role === 'user' ? 'You: ' : 'Guest desk: '}</span>
      {text}
    </div>
  );
}

/** Make a line between messages; the page alone knows of it. */
function line(text: string): UIMessage {
  return { id: crypto.randomUUID(), role: 'system', parts: [{ type: 'text', text }] };
}
