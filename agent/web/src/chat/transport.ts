// Carries the chat between the page and the agent, and keeps tokens away from the page.
import { DefaultChatTransport, type UIMessage, type UIMessageChunk } from 'ai';
import type { AppConfig } from '../auth/config';
import { hear } from '../auth/listeners';
import type { TokenRefresher } from '../auth/refresh';
import type { Session, SessionStore } from '../auth/session';
import { isRecord, sessionFromDelivery } from '../auth/tokens';
import { type Challenge, nextChallenge } from './challenge';
import type { GuestCall } from './guest-aws';
import { QuestionMemory } from './question';
import { readChunks, SILENCE_MS, SILENT, texts } from './stream';

const SESSION_ID_HEADER = 'X-Amzn-Bedrock-AgentCore-Runtime-Session-Id';
/** The language a new guest's mails are to be in. */
const LOCALE_HEADER = 'X-Amzn-Bedrock-AgentCore-Runtime-Custom-Locale';
const MAX_PROMPT_CHARS = 8_000;
const MAX_REFUSAL_CHARS = 10_000;

export const SIGNED_OUT = 'Your sign-in has ended. Ask again to go on, and sign in when asked.';
const USER_CHANGED = 'Somebody else has signed in, in another tab. Please ask again.';
const UNREACHABLE = 'The assistant cannot be reached. Check your connection and try again.';
const NOT_ANSWERED = 'The assistant could not answer that. Please try again.';
const TOO_LONG = `Your message is too long: ${MAX_PROMPT_CHARS} characters at most.`;
const TOKENS_UNUSABLE = 'The sign-in did not arrive whole. Please ask for a new code.';
const BY_CODE = new Map([
  ['busy', 'The assistant is very busy. Please try again in a few seconds.'],
  ['session_busy', 'The last message is still being answered. Please wait a moment.'],
  ['keys_unavailable', 'Your sign-in cannot be checked right now. Please try again.'],
  ['foreign_session', 'This chat could not go on, so a new one was begun. Please ask again.'],
]);
const BY_STATUS = new Map([
  [429, 'The assistant is very busy. Please try again in a minute.'],
  [503, 'The assistant is very busy. Please try again in a minute.'],
]);

/** Something the visitor can be told as it stands. */
export class ChatError extends Error {
  override readonly name = 'ChatError';
}

export type AgentTransport = DefaultChatTransport<UIMessage>;

export type AgentTransportOptions = {
  config: AppConfig;
  store: SessionStore;
  refresher: TokenRefresher;
  fetch?: typeof fetch;
  now?: () => number;
  /**
   * Called when the answer that signed the visitor in has ended. Send `pendingQuestion`, if there
   * is one, as soon as the chat is ready; it is given only once.
   */
  onSignedIn?: (session: Session, pendingQuestion: string | null) => void;
  onChallenge?: (challenge: Challenge) => void;
  /** Loads what calls a guest runtime on AWS. */
  loadGuestCaller?: () => Promise<{
    callGuestRuntime: (config: AppConfig, call: GuestCall) => Promise<Response>;
  }>;
};

/**
 * Makes the transport for `useChat`.
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
  const link = new AgentLink(options);

  class Transport extends Base<UIMessage> {
    protected override processResponseStream(
      stream: ReadableStream<Uint8Array>,
    ): ReadableStream<UIMessageChunk> {
      return link.read(stream);
    }

    /** An answer that was cut off is asked for again; the agent keeps none to resume. */
    override async reconnectToStream(): Promise<null> {
      return null;
    }
  }

  return new Transport({
    api: options.config.guestEndpoint,
    fetch: (_api: unknown, init?: RequestInit) => link.post(init ?? {}),
    prepareSendMessagesRequest: ({ messages, body }) => ({
      body: requestBody(messages, body?.['code']),
    }),
  });
}

/** The latest text alone: earlier answers and tool outputs are the agent's own business. */
function requestBody(messages: UIMessage[], code: unknown): { prompt: string; code?: string } {
  if (typeof code === 'string' && code !== '') return { prompt: '', code };
  const latest = messages.findLast((message) => message.role === 'user');
  const prompt = (latest?.parts ?? [])
    .map((part) => (part.type === 'text' ? part.text : ''))
    .join('')
    .toWellFormed();
  if (prompt.length > MAX_PROMPT_CHARS) throw new ChatError(TOO_LONG);
  return { prompt };
}

/** One page's connection to the agent: its session id and the login it is in. */
class AgentLink {
  readonly #options: AgentTransportOptions;
  readonly #now: () => number;
  readonly #question = new QuestionMemory();
  readonly #guestAnswers = new WeakSet<ReadableStream<Uint8Array>>();
  #challenge: Challenge | null = null;
  #sessionId = crypto.randomUUID();
  #sessionSub: string | null;

  constructor(options: AgentTransportOptions) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#sessionSub = options.store.read()?.sub ?? null;
    options.store.subscribe((change) => {
      const { current, previous, userChanged, fromOtherTab } = change;
      if (!userChanged) return;
      this.#begin(current?.sub ?? null);
      if (previous || fromOtherTab) this.#question.forget();
    });
  }

  async post(init: RequestInit): Promise<Response> {
    const body = String(init.body);
    const signal = init.signal ?? null;
    const { store, refresher } = this.#options;
    const shown = this.#sessionSub;
    store.catchUp();
    const before = store.read();
    const sub = before?.sub ?? null;
    if (sub !== shown) this.#begin(sub); // the next message goes in their name
    // What one visitor typed is not to be sent in another's name, nor is it a guest's.
    if (shown !== null && !before) throw new ChatError(SIGNED_OUT);
    if (sub !== shown) throw new ChatError(USER_CHANGED);
    if (!before) return this.#postAsGuest(body, signal);
    let token = await refresher.accessToken();
    for (let refreshed = false; token !== null; refreshed = true) {
      const response = await this.#postAsMember(body, signal, before, token);
      const refusal = await refusalOf(response, signal);
      if (!refusal) return response;
      if (!refusal.tokenRefused) throw this.#explain(refusal);
      if (refreshed) {
        if (store.read()?.accessToken === token) store.expire();
        break;
      }
      token = await refresher.forceRefresh(token);
    }
    throw new ChatError(SIGNED_OUT);
  }

  read(stream: ReadableStream<Uint8Array>): ReadableStream<UIMessageChunk> {
    const { store } = this.#options;
    const isGuests = this.#guestAnswers.has(stream);
    let signedIn: Session | null = null;
    // Not once somebody has signed in, be it by this answer or in another tab.
    const maySignIn = (): boolean => isGuests && !signedIn && this.#sessionSub === null;
    return readChunks(stream, {
      onTokens: (delivery) => {
        store.catchUp();
        // Nobody signs in who is signed in; tokens that come all the same are no one's.
        const session = maySignIn() ? sessionFromDelivery(delivery, this.#now()) : null;
        if (!session) {
          return { success: false, error_code: 'AUTH_SERVICE_ERROR', message: TOKENS_UNUSABLE };
        }
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
        hear(() => this.#options.onSignedIn?.(session, question));
      },
    });
  }

  async #postAsGuest(body: string, signal: AbortSignal | null): Promise<Response> {
    const { prompt, code } = JSON.parse(body) as { prompt: string; code?: string };
    if (code === undefined) this.#question.asked(prompt);
    const { config, loadGuestCaller } = this.#options;
    let response: Response;
    if (config.guestRuntimeArn && config.identityPoolId) {
      const load = loadGuestCaller ?? (() => import('./guest-aws'));
      const call = { body, sessionId: this.#sessionId };
      response = await reach(signal, async (either) =>
        (await load()).callGuestRuntime(config, { ...call, signal: either }),
      );
    } else {
      const headers = { [LOCALE_HEADER]: navigator.language };
      response = await this.#send(config.guestEndpoint, body, signal, headers);
    }
    const refusal = await refusalOf(response, signal);
    if (refusal) throw this.#explain(refusal);
    if (response.body) this.#guestAnswers.add(response.body);
    return response;
  }

  async #postAsMember(
    body: string,
    signal: AbortSignal | null,
    asker: Session,
    accessToken: string,
  ): Promise<Response> {
    const session = this.#options.store.read();
    // What one visitor asked is not to be sent in another's name.
    if (!session || session.sub !== asker.sub) throw new ChatError(USER_CHANGED);
    const headers = { authorization: `Bearer ${accessToken}` };
    return this.#send(this.#options.config.memberEndpoint, body, signal, headers);
  }

  #send(
    endpoint: string,
    body: string,
    signal: AbortSignal | null,
    headers: Record<string, string>,
  ): Promise<Response> {
    const send = this.#options.fetch ?? globalThis.fetch.bind(globalThis);
    return reach(signal, (either) =>
      send(endpoint, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          accept: 'text/event-stream',
          [SESSION_ID_HEADER]: this.#sessionId,
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
    if (toolName === 'get_guest_profile' && isRecord(output) && output['signed_in'] === false) {
      this.#question.neededSignIn();
    }
    const challenge = nextChallenge(this.#challenge, toolName, output, this.#now());
    if (!challenge) return;
    this.#challenge = challenge;
    if (challenge.open) this.#question.loginBegan();
    hear(() => this.#options.onChallenge?.(challenge));
  }

  #explain(refusal: Refusal): ChatError {
    if (refusal.code === 'foreign_session') this.#begin(this.#sessionSub);
    const text = BY_CODE.get(refusal.code ?? '') ?? BY_STATUS.get(refusal.status) ?? NOT_ANSWERED;
    return new ChatError(text);
  }

  #begin(sub: string | null): void {
    this.#sessionId = crypto.randomUUID();
    this.#sessionSub = sub;
    this.#challenge = null;
  }
}

type Refusal = { status: number; code: string | null; tokenRefused: boolean };

/** Returns why a response is no answer, or null; AgentCore may change the status of a refusal. */
async function refusalOf(response: Response, stop: AbortSignal | null): Promise<Refusal | null> {
  const isJson = (response.headers.get('content-type') ?? '').includes('application/json');
  if (response.ok && !isJson) return null;
  let text = '';
  try {
    for await (const piece of response.body ? texts(response.body.getReader()) : []) {
      text += piece;
      if (text.length > MAX_REFUSAL_CHARS) break;
    }
  } catch {
    stop?.throwIfAborted();
    // The status has to do.
  }
  const code = /"code"\s*:\s*"([a-z_]{1,40})"/.exec(text)?.[1] ?? null;
  const { status } = response;
  return { status, code, tokenRefused: status === 401 || code === 'invalid_token' };
}

/** Waits for an answer's head, until the visitor stops that or the agent is silent for too long. */
async function reach(
  stop: AbortSignal | null,
  send: (signal: AbortSignal) => Promise<Response>,
): Promise<Response> {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), SILENCE_MS);
  const either = AbortSignal.any(stop ? [stop, giveUp.signal] : [giveUp.signal]);
  try {
    // Not everything on the way to AWS heeds a signal.
    return await Promise.race([send(either), aborted(either)]);
  } catch (error) {
    if (giveUp.signal.aborted) throw new ChatError(SILENT);
    if (error instanceof Error && error.name === 'AbortError') throw error;
    throw new ChatError(UNREACHABLE); // its own text may name what is none of the visitor's business
  } finally {
    clearTimeout(timer);
  }
}

async function aborted(signal: AbortSignal): Promise<never> {
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  throw signal.reason;
}
