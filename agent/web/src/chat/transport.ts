// Carries the chat between the page and the agent, and keeps tokens away from the page.
import { DefaultChatTransport, type UIMessage, type UIMessageChunk } from 'ai';

import { parseRecord } from '../auth/json';
import { callListener } from '../auth/listeners';
import type { TokenRefresher } from '../auth/refresh';
import type { SessionStore } from '../auth/session';
import type { Session } from '../auth/storage';
import type { AgentConfig } from './config';
import { ChatError, type ChatErrorCode, isStop, REFUSALS } from './errors';
import { nextPendingCode, type PendingCode } from './pending-code';
import { QuestionMemory } from './question';
import { inTime, readAhead, readChunks, texts, WITHHELD } from './stream';
import { needsSignIn, sessionFromDelivery } from './tool-outputs';

/** AgentCore's name for it: what this header holds is the chat's id. */
const CHAT_ID_HEADER = 'X-Amzn-Bedrock-AgentCore-Runtime-Session-Id';
export const MAX_PROMPT_CHARS = 8_000; // as the agent has it
const MAX_REFUSAL_CHARS = 10_000;

/** AgentCore's `RetryableConflictException`: the message did not reach the agent. */
const CONFLICT = 409;
const CONFLICT_PAUSE_MS = 1_000;

export type AgentTransport = DefaultChatTransport<UIMessage>;

export type AgentTransportOptions = {
  config: AgentConfig;
  store: SessionStore;
  refresher: TokenRefresher;
  fetch?: typeof fetch;
  now?: () => number;
  /**
   * Called when the answer that signed the visitor in has ended. Send `pendingQuestion`, if there
   * is one, as soon as the chat is ready; it is given only once.
   */
  onSignedIn?: (session: Session, pendingQuestion: string | null) => void;
  onPendingCode?: (pendingCode: PendingCode) => void;
  /** Loads the module that calls the guest runtime on AWS. */
  loadGuestCaller?: () => Promise<typeof import('./guest-aws')>;
};

/**
 * Make the transport for `useChat`; it fails with a `ChatError` or a `SignInUnreachableError`.
 *
 * A code goes beside the message, never in it:
 * `sendMessage({ text: 'Code entered' }, { body: { code } })` posts `{"prompt": "", "code": ...}`.
 *
 * @param Base - The class of the AI SDK to build on, 6 or 7.
 */
export function createAgentTransport(
  options: AgentTransportOptions,
  Base: typeof DefaultChatTransport = DefaultChatTransport,
): AgentTransport {
  const connection = new AgentConnection(options);

  class Transport extends Base<UIMessage> {
    protected override processResponseStream(
      stream: ReadableStream<Uint8Array>,
    ): ReadableStream<UIMessageChunk> {
      return connection.read(stream);
    }

    /** Resume nothing: an answer that was cut off is asked for again, the agent keeps none. */
    override async reconnectToStream(): Promise<null> {
      return null;
    }
  }

  return new Transport({
    api: options.config.guestEndpoint,
    fetch: (_api: unknown, init?: RequestInit) => connection.post(init ?? {}),
    prepareSendMessagesRequest: ({ messages, body }) => ({
      // The language a new guest's mails are to be in.
      body: { ...said(messages, body?.code), locale: navigator.language },
    }),
  });
}

/** Return the latest message alone: the agent keeps what was said before. */
function said(messages: UIMessage[], code: unknown): { prompt: string; code?: string } {
  if (typeof code === 'string' && code !== '') return { prompt: '', code };
  const latest = messages.findLast((message) => message.role === 'user');
  const prompt = (latest?.parts ?? [])
    .map((part) => (part.type === 'text' ? part.text : ''))
    .join('')
    .toWellFormed();
  if (prompt.length > MAX_PROMPT_CHARS) throw new ChatError('message_too_long');
  return { prompt };
}

/** One page's connection to the agent: the chat's id, who it is for, and the pending code. */
class AgentConnection {
  readonly #options: AgentTransportOptions;
  readonly #now: () => number;
  readonly #question = new QuestionMemory();
  readonly #anonymousAnswers = new WeakSet<ReadableStream<Uint8Array>>();
  #pendingCode: PendingCode | null = null;
  #chatId = crypto.randomUUID();
  #chatSub: string | null;

  constructor(options: AgentTransportOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#chatSub = options.store.read()?.sub ?? null;
    options.store.subscribe((change) => {
      const { current, previous, userChanged, fromOtherTab } = change;
      if (!userChanged) return;
      this.#beginChat(current?.sub ?? null);
      if (previous || fromOtherTab) this.#question.forget();
    });
  }

  async post(init: RequestInit): Promise<Response> {
    const body = String(init.body);
    const signal = init.signal ?? null;
    const { config, store, refresher } = this.#options;
    const shown = this.#chatSub;
    store.catchUp();
    const before = store.read();
    const sub = before?.sub ?? null;
    // Never send a message in another's name, nor a member's anonymously.
    if (sub !== shown) {
      this.#beginChat(sub); // the next message goes in their name
      throw new ChatError(before ? 'user_changed' : 'sign_in_ended');
    }
    if (!before) return this.#postAnonymously(body, signal);
    let token = await refresher.accessToken();
    for (let refreshed = false; token !== null; refreshed = true) {
      if (store.read()?.sub !== sub) throw new ChatError('user_changed'); // while it refreshed
      const headers = { authorization: `Bearer ${token}` };
      const answer = await this.#send(config.memberEndpoint, body, signal, headers);
      if (!(answer instanceof Refusal)) return answer;
      if (!answer.tokenRefused) throw this.#explain(answer);
      if (refreshed) {
        if (store.read()?.accessToken === token) store.expire();
        break;
      }
      token = await refresher.forceRefresh(token);
    }
    throw new ChatError('sign_in_ended');
  }

  read(stream: ReadableStream<Uint8Array>): ReadableStream<UIMessageChunk> {
    const { store } = this.#options;
    const isAnonymous = this.#anonymousAnswers.has(stream);
    let signedIn: Session | null = null;
    // Not once somebody has signed in, by this answer or in another tab.
    const maySignIn = (): boolean => isAnonymous && !signedIn && this.#chatSub === null;
    return readChunks(stream, {
      onTokens: (delivery) => {
        store.catchUp();
        // Whoever is signed in cannot sign in: tokens that come all the same are dropped.
        const session = maySignIn() ? sessionFromDelivery(delivery, this.#now()) : null;
        if (!session) return WITHHELD;
        signedIn = session;
        store.save(session);
        return { success: true, guest_id: session.guestId, email: session.email };
      },
      onToolOutput: (toolName, output) => {
        if (maySignIn()) this.#follow(toolName, output);
      },
      onEnd: () => {
        const session = signedIn;
        if (!session || store.read()?.sub !== session.sub) return;
        const question = this.#question.take();
        callListener(() => this.#options.onSignedIn?.(session, question));
      },
    });
  }

  async #postAnonymously(body: string, signal: AbortSignal | null): Promise<Response> {
    const { prompt, code } = JSON.parse(body) as { prompt: string; code?: string };
    if (code === undefined) this.#question.asked(prompt);
    const { config, loadGuestCaller = () => import('./guest-aws') } = this.#options;
    let answer: Response | Refusal;
    if (config.guestRuntimeArn && config.identityPoolId) {
      const call = { body, chatId: this.#chatId };
      answer = await ask(signal, async (either) =>
        (await loadGuestCaller()).callGuestRuntime(config, { ...call, signal: either }),
      );
    } else {
      answer = await this.#send(config.guestEndpoint, body, signal);
    }
    if (answer instanceof Refusal) throw this.#explain(answer);
    if (answer.body) this.#anonymousAnswers.add(answer.body);
    return answer;
  }

  #send(
    endpoint: string,
    body: string,
    signal: AbortSignal | null,
    headers: Record<string, string> = {},
  ): Promise<Response | Refusal> {
    const send = this.#options.fetch ?? globalThis.fetch.bind(globalThis);
    const chatId = this.#chatId; // that of the first try, whoever signs in before the second
    return ask(signal, (either) =>
      send(endpoint, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'text/event-stream',
          [CHAT_ID_HEADER]: chatId,
          ...headers,
        },
        body,
        credentials: 'omit',
        cache: 'no-store',
        signal: either,
      }),
    );
  }

  #follow(toolName: string, output: unknown): void {
    if (needsSignIn(toolName, output)) this.#question.neededSignIn();
    const pendingCode = nextPendingCode(this.#pendingCode, toolName, output, this.#now());
    if (!pendingCode) return;
    this.#pendingCode = pendingCode;
    if (pendingCode.open) this.#question.loginBegan();
    callListener(() => this.#options.onPendingCode?.(pendingCode));
  }

  #explain(refusal: Refusal): ChatError {
    if (refusal.code === 'foreign_session') this.#beginChat(this.#chatSub);
    const told = REFUSALS.find((code) => code === refusal.code);
    return new ChatError(told ?? refusal.byStatus);
  }

  #beginChat(sub: string | null): void {
    this.#chatId = crypto.randomUUID();
    this.#chatSub = sub;
    this.#pendingCode = null;
  }
}

/** Why there is no answer: in the agent's words, or by AgentCore's status alone. */
class Refusal {
  readonly code: string | null;

  /** @param text - What holds the agent's code, if anything does. */
  constructor(
    readonly status: number,
    text: string,
  ) {
    this.code = /"code"\s*:\s*"([a-z_]{1,40})"/.exec(text)?.[1] ?? null;
  }

  /**
   * A 424 without a code says nothing of the token, which AgentCore refuses by 401 and a hosted agent
   * in a stream. It is an agent that failed or was too slow, and may have taken the message: sent
   * again with a new token, it would be answered twice.
   */
  get tokenRefused(): boolean {
    return this.status === 401 || this.code === 'invalid_token';
  }

  get byStatus(): ChatErrorCode {
    if (this.status === CONFLICT) return 'session_busy';
    return [429, 503].includes(this.status) ? 'overloaded' : 'not_answered';
  }
}

/** Send a message, and once more if AgentCore says that it did not take it. */
async function ask(
  stop: AbortSignal | null,
  send: (signal: AbortSignal) => Promise<Response>,
): Promise<Response | Refusal> {
  let response = await reach(stop, send);
  if (response.status === CONFLICT) {
    await new Promise((resolve) => setTimeout(resolve, CONFLICT_PAUSE_MS));
    stop?.throwIfAborted();
    response = await reach(stop, send);
  }
  return answerOrRefusal(response, stop);
}

/**
 * Tell an answer from a refusal: JSON, which AgentCore discards, or a stream that begins with an
 * `error` chunk that holds that JSON.
 */
async function answerOrRefusal(
  response: Response,
  stop: AbortSignal | null,
): Promise<Response | Refusal> {
  const { status, body } = response;
  const isJson = (response.headers.get('content-type') ?? '').includes('application/json');
  if (!response.ok || isJson) return new Refusal(status, await refusalText(body, stop));
  if (!body) return response;
  const { first, whole } = await readAhead(body);
  const chunk = parseRecord(first);
  const refusal = new Refusal(status, chunk?.type === 'error' ? String(chunk.errorText) : '');
  if (refusal.code === null) return new Response(whole, response);
  whole.cancel().catch(() => undefined);
  return refusal;
}

async function refusalText(
  body: ReadableStream<Uint8Array> | null,
  stop: AbortSignal | null,
): Promise<string> {
  let text = '';
  try {
    for await (const piece of body ? texts(body.getReader()) : []) {
      text += piece;
      if (text.length > MAX_REFUSAL_CHARS) break;
    }
  } catch {
    stop?.throwIfAborted();
    // The status has to do.
  }
  return text;
}

/** Wait for an answer's head, until the visitor stops that or the agent is silent for too long. */
async function reach(
  stop: AbortSignal | null,
  send: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  const giveUp = new AbortController();
  const either = AbortSignal.any(stop ? [stop, giveUp.signal] : [giveUp.signal]);
  try {
    // Not everything on the way to AWS heeds a signal.
    return await inTime(Promise.race([send(either), aborted(either)]));
  } catch (error) {
    if (error instanceof ChatError) giveUp.abort();
    else if (!isStop(error)) throw new ChatError('unreachable'); // its text is not for visitors
    throw error;
  }
}

async function aborted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  throw signal.reason;
}
