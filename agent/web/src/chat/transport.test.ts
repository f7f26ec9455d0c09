// The transport, on both releases of the AI SDK: what is posted, what the chat sees, who is who.

import type { UIMessage, UIMessageChunk } from 'ai';
import * as ai7 from 'ai';
import * as ai6 from 'ai6';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { TokenRefresher } from '../auth/refresh';
import { SessionStore } from '../auth/session';
import { type Session, STORAGE_KEY } from '../auth/storage';
import {
  codeSent,
  collect,
  connection,
  encode,
  failingAfter,
  frames,
  lost,
  streamOf,
  text,
  toolCall,
  whole,
} from '../testing/answers';
import {
  CANARY,
  config,
  delivery,
  FakeStorage,
  jwt,
  NOW,
  sessionOf,
  storeElsewhere,
} from '../testing/fakes';
import type { PendingCode } from './pending-code';
import { SILENCE_MS } from './stream';
import { type AgentTransportOptions, createAgentTransport } from './transport';

const CHAT_ID = 'x-amzn-bedrock-agentcore-runtime-session-id';
const locale = navigator.language;

type Sdk = Pick<typeof ai7, 'DefaultChatTransport' | 'readUIMessageStream'>;
type Post = {
  url: string;
  body: unknown;
  chatId: string;
  authorization: string | null;
  init: RequestInit | undefined;
};
type Answer = Response | (() => Response | Promise<Response>);

const codeAskedFor = toolCall('initiate_cognito_login', codeSent);
const tokensFor = (sub: string, changes = {}) =>
  toolCall('verify_cognito_otp', delivery(sub, NOW, changes));
const wrongCode = { success: false, error_code: 'INVALID_OTP', attempts_left: 2 };
const stream = (body: BodyInit) =>
  new Response(body, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } });
const answer = (...chunks: unknown[]) => stream(whole(chunks));
const refusal = (status: number, code: string) => Response.json({ error: 'no', code }, { status });
/** A hosted agent's refusal, which AgentCore would discard with any other status. */
const refusalInStream = (_status: number, code: string) => {
  const errorText = JSON.stringify({ error: 'no', code });
  return stream(frames([{ type: 'error', errorText }, { type: 'finish' }]));
};
const forms = { 'by its status': refusal, 'in a stream': refusalInStream };
const inBothForms = Object.entries(forms);
/** AgentCore's own errors; none of them is the agent's. */
const agentCore = (status: number) => Response.json({ message: 'canary' }, { status });
const beginning = frames([{ type: 'start' }, ...text('Half').slice(0, 2)]);
const aws = { ...config, guestRuntimeArn: 'arn:aws:example', identityPoolId: 'pool' };
const fresh = jwt('ada', NOW, 900, 'fresh');
const renewed = () =>
  Response.json({ AuthenticationResult: { AccessToken: fresh, IdToken: jwt('ada', NOW) } });

function page(sdk: Sdk, changes: Partial<AgentTransportOptions> = {}) {
  const storage = new FakeStorage();
  const now = () => NOW;
  const store = new SessionStore({ storage });
  const answers: Answer[] = [];
  const posts: Post[] = [];
  const cognito: Answer[] = [];
  const pendingCodes: PendingCode[] = [];
  const signedIn: [Session, string | null][] = [];
  const signedOut: unknown[] = [];
  const next = async (queue: Answer[]) => {
    const given = queue.shift() ?? answer(...text('Hello.'));
    return typeof given === 'function' ? given() : given;
  };
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const headers = new Headers(init?.headers);
    posts.push({
      url: String(input),
      body: JSON.parse(String(init?.body)),
      chatId: headers.get(CHAT_ID) ?? '',
      authorization: headers.get('authorization'),
      init,
    });
    return next(answers);
  };
  const refresher = new TokenRefresher(config, store, {
    now,
    locks: null,
    fetch: () => next(cognito),
  });
  const transport = createAgentTransport(
    {
      config,
      store,
      refresher,
      fetch,
      now,
      onPendingCode: (pendingCode) => pendingCodes.push(pendingCode),
      onSignedIn: (session, question) => signedIn.push([session, question]),
      ...changes,
    },
    sdk.DefaultChatTransport,
  );
  store.subscribe(({ userChanged, signedOutReason }) => {
    if (userChanged && signedOutReason) signedOut.push(signedOutReason);
  });
  const messages: UIMessage[] = [];
  const stop = new AbortController();
  const send = (words: string, body?: object): Promise<UIMessageChunk[]> => {
    const id = String(messages.length);
    messages.push({ id, role: 'user', parts: [{ type: 'text', text: words }] });
    return post('submit-message', body);
  };
  const post = async (
    trigger: 'submit-message' | 'regenerate-message',
    body?: object,
  ): Promise<UIMessageChunk[]> => {
    const chunks = await transport.sendMessages({
      trigger,
      chatId: 'chat',
      messageId: undefined,
      messages,
      abortSignal: stop.signal,
      ...(body ? { body } : {}),
    });
    const all = await collect(chunks);
    await show(sdk, all, messages);
    return all;
  };
  const elsewhere = (session: Session | null) => storeElsewhere(storage, session);
  return {
    storage,
    store,
    answers,
    posts,
    cognito,
    pendingCodes,
    signedIn,
    signedOut,
    stop,
    send,
    post,
    elsewhere,
    messages,
  };
}

/** Open a page on which Ada is signed in. */
function memberPage(sdk: Sdk) {
  const open = page(sdk);
  open.store.save(sessionOf('ada', NOW));
  return open;
}

/** Feed the chunks to the SDK's own reader, which throws at those that do not fit together. */
async function show(sdk: Sdk, chunks: UIMessageChunk[], messages: UIMessage[]): Promise<void> {
  const stream = streamOf(chunks.filter(({ type }) => type !== 'error'));
  const onError = (error: unknown) => {
    throw error;
  };
  const states = sdk.readUIMessageStream({ stream, onError, terminateOnError: true });
  const last = (await collect(states)).at(-1);
  if (last) messages.push({ ...last, id: String(messages.length) });
}

const printed: unknown[] = [];
beforeEach(() => {
  printed.length = 0;
  for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
    vi.spyOn(console, method).mockImplementation((...args) => void printed.push(args));
  }
});
afterEach(() => expect(JSON.stringify(printed)).not.toContain(CANARY));

const sdks: [string, Sdk][] = [
  ['6', ai6 as unknown as Sdk],
  ['7', ai7],
];

describe.each(sdks)('on AI SDK %s', (_release, sdk) => {
  it('posts the latest text alone, anonymously, in one chat with a random id', async () => {
    const { send, posts } = page(sdk);
    await send('Good morning');
    await send('When is breakfast?');
    expect(posts.map(({ url, body, authorization }) => ({ url, body, authorization }))).toEqual([
      { url: config.guestEndpoint, body: { prompt: 'Good morning', locale }, authorization: null },
      {
        url: config.guestEndpoint,
        body: { prompt: 'When is breakfast?', locale },
        authorization: null,
      },
    ]);
    expect(posts[0]?.init).toMatchObject({ credentials: 'omit', cache: 'no-store' });
    expect(posts[0]?.chatId).toMatch(/^[0-9a-f-]{36}$/);
    expect(posts[1]?.chatId).toBe(posts[0]?.chatId);
    const other = page(sdk);
    await other.send('Hello');
    expect(other.posts[0]?.chatId).not.toBe(posts[0]?.chatId);
  });

  it('asks again for an answer that failed by the last question alone', async () => {
    const { send, post, answers, posts, messages } = page(sdk);
    await send('Good morning');
    answers.push(lost);
    await expect(send('Is it \ud800 far?')).rejects.toMatchObject({ code: 'unreachable' });
    messages.push({ id: 'line', role: 'system', parts: [{ type: 'text', text: 'Signed in' }] });
    await post('regenerate-message');
    expect(posts.slice(1).map(({ body }) => body)).toEqual([
      { prompt: 'Is it \ufffd far?', locale },
      { prompt: 'Is it \ufffd far?', locale },
    ]);
  });

  it('signs in: keeps the tokens from the chat, begins a chat, offers the question once', async () => {
    const { send, answers, posts, pendingCodes, signedIn, store, messages } = page(sdk);
    answers.push(
      answer(...toolCall('get_guest_profile', { success: true, signed_in: false })),
      answer(...codeAskedFor),
      answer(...toolCall('verify_cognito_otp', wrongCode)),
      answer(...tokensFor('ada'), ...text('You are signed in.')),
    );
    const seen = [
      await send('Show my bookings'),
      await send("It's ada@example.com, Ada Lovelace"),
      await send('Code entered', { code: '000000' }),
      await send('Code entered', { code: '123456' }),
    ];
    expect(store.read()).toEqual(sessionOf('ada', NOW));
    expect(signedIn).toEqual([[sessionOf('ada', NOW), 'Show my bookings']]);
    expect(seen[3]).toContainEqual({
      type: 'tool-output-available',
      toolCallId: 'verify_cognito_otp',
      output: { success: true, guest_id: 'GST-2026-ABC123', email: 'ada@example.com' },
    });
    expect(pendingCodes).toMatchObject([
      { open: true, codeLength: 6, expiresAt: NOW + 300_000, attemptsLeft: 3, retryAfter: 30 },
      { open: true, attemptsLeft: 2, destination: 'a***@e***.com', errorCode: 'INVALID_OTP' },
    ]);
    await send('Show my bookings');
    expect(posts.slice(2).map(({ body }) => body)).toEqual([
      { prompt: '', code: '000000', locale },
      { prompt: '', code: '123456', locale },
      { prompt: 'Show my bookings', locale },
    ]);
    expect(posts[4]).toMatchObject({
      url: config.memberEndpoint,
      authorization: `Bearer ${sessionOf('ada', NOW).accessToken}`,
    });
    expect(posts[4]?.chatId).not.toBe(posts[3]?.chatId);
    const bodies = posts.map(({ body }) => body);
    expect(JSON.stringify([seen, bodies, messages, pendingCodes])).not.toContain(CANARY);
  });

  it.each([
    ['a token missing', delivery('ada', NOW, { refresh_token: undefined })],
    ['no success', delivery('ada', NOW, { success: false })],
    ["another's token", delivery('ada', NOW, { access_token: jwt('grace', NOW) })],
    ['another shape', { tokens: { accessToken: jwt('ada', NOW) } }],
    ['a token as text', `here: ${jwt('ada', NOW)}`],
  ])('shows nothing and signs nobody in for a delivery with %s', async (_name, output) => {
    const { send, answers, signedIn, store } = page(sdk);
    answers.push(answer(...toolCall('verify_cognito_otp', output), ...text('Done.')));
    const chunks = await send('Code entered', { code: '123456' });
    expect(JSON.stringify(chunks)).not.toContain(CANARY);
    expect(chunks).toContainEqual(
      expect.objectContaining({ output: expect.objectContaining({ success: false }) }),
    );
    expect([store.read(), signedIn]).toEqual([null, []]);
  });

  it('signs in by tokens whose call the chat knows nothing of', async () => {
    const { send, answers, store } = page(sdk);
    answers.push(answer(tokensFor('ada')[1]));
    expect(await send('Code entered', { code: '123456' })).toEqual([
      { type: 'start' },
      { type: 'finish' },
    ]);
    expect(store.read()?.sub).toBe('ada');
  });

  it('offers the question of nobody but who asked it, and forgets their login', async () => {
    const { send, answers, store, signedIn, pendingCodes, elsewhere } = page(sdk);
    answers.push(answer(...codeAskedFor));
    await send("I'm ada@example.com, show my bookings");
    elsewhere(sessionOf('ada', NOW));
    elsewhere(null);
    answers.push(
      answer(...toolCall('verify_cognito_otp', wrongCode)),
      answer(...tokensFor('grace')),
    );
    await send('Code entered', { code: '000000' });
    expect(pendingCodes.at(-1)).toMatchObject({ open: false, destination: '' });
    await send('Code entered', { code: '123456' });
    expect([store.read()?.sub, signedIn[0]?.[1]]).toEqual(['grace', null]);
  });

  it('goes on after a listener that ends the sign-in at once, and tells of none', async () => {
    const { store, send, answers, posts, signedIn } = page(sdk);
    store.subscribe(({ current }) => current && store.signOut());
    answers.push(answer(...tokensFor('ada')));
    await send('123456');
    await send('Hello');
    expect(posts.at(-1)?.authorization).toBeNull();
    expect(signedIn).toEqual([]);
  });

  it('takes no second tokens in one answer', async () => {
    const { send, answers, store, signedIn } = page(sdk);
    const firstTokens = { idToken: jwt('ada', NOW), accessToken: jwt('ada', NOW, 900, 'first') };
    answers.push(
      answer(
        ...tokensFor('ada', {
          id_token: firstTokens.idToken,
          access_token: firstTokens.accessToken,
        }),
        ...toolCall('verify_cognito_otp', delivery('ada', NOW), 'again'),
        ...toolCall('verify_cognito_otp', delivery('mallory', NOW), 'another'),
      ),
    );
    const chunks = await send('Code entered', { code: '123456' });
    expect(store.read()).toEqual(sessionOf('ada', NOW, firstTokens));
    expect(signedIn).toEqual([[sessionOf('ada', NOW, firstTokens), null]]);
    expect(JSON.stringify(chunks)).not.toContain(CANARY);
    expect(JSON.stringify(chunks)).not.toContain('mallory');
  });

  it('takes no tokens and no login in the answer to a member', async () => {
    const { send, answers, store, pendingCodes } = memberPage(sdk);
    answers.push(answer(...tokensFor('mallory'), ...codeAskedFor));
    const chunks = await send('Hello');
    expect(store.read()?.sub).toBe('ada');
    expect(pendingCodes).toEqual([]);
    expect(JSON.stringify(chunks)).not.toContain(CANARY);
  });

  it.each([
    ['has signed in', true],
    ['has signed in, which is not heard of yet', false],
  ])('takes no tokens and no login if somebody %s elsewhere meanwhile', async (_name, heard) => {
    const { send, answers, store, storage, elsewhere, pendingCodes, signedIn } = page(sdk);
    const chunks = [...tokensFor('mallory'), ...codeAskedFor];
    answers.push(() => {
      const pieces = function* () {
        yield frames([{ type: 'start' }]);
        if (heard) elsewhere(sessionOf('ada', NOW));
        else storage.setItem(STORAGE_KEY, JSON.stringify(sessionOf('ada', NOW)));
        yield frames([...chunks, { type: 'finish' }]);
      };
      const bytes = streamOf(pieces()).pipeThrough(new TextEncoderStream());
      return stream(bytes as ReadableStream<Uint8Array<ArrayBuffer>>);
    });
    const seen = await send('Code entered', { code: '123456' });
    expect([store.read()?.sub, pendingCodes, signedIn]).toEqual(['ada', [], []]);
    expect(JSON.stringify(seen)).not.toContain(CANARY);
  });

  it('takes the tokens of an answer beside which another began a new chat', async () => {
    const { send, answers, store } = page(sdk);
    const tokens = Promise.withResolvers<Response>();
    answers.push(() => tokens.promise, refusal(403, 'foreign_session'));
    const signingIn = send('Code entered', { code: '123456' });
    await expect(send('Hello')).rejects.toMatchObject({ code: 'foreign_session' });
    tokens.resolve(answer(...tokensFor('ada')));
    await signingIn;
    expect(store.read()?.sub).toBe('ada');
  });

  it('goes on if who hears of a login throws, and reports that', async () => {
    const report = vi.fn();
    vi.stubGlobal('reportError', report);
    const trouble = new Error('in the page');
    const throws = () => {
      throw trouble;
    };
    const { send, answers, store } = page(sdk, { onPendingCode: throws, onSignedIn: throws });
    answers.push(
      answer(...codeAskedFor, ...text('Sent.')),
      answer(...tokensFor('ada'), ...text('Welcome.')),
    );
    for (const words of ["I'm ada@example.com", 'Code entered']) {
      expect((await send(words)).at(-1)).toEqual({ type: 'finish' });
    }
    expect(store.read()?.sub).toBe('ada');
    expect(report.mock.calls).toEqual([[trouble], [trouble]]);
    vi.unstubAllGlobals();
  });

  it('drops what is malformed, unknown or refers to nothing, and goes on', async () => {
    const { send, answers } = page(sdk);
    const odd = [
      'data: {"type": \n\n',
      'data: "[DONE]"\n\n',
      'data: [DONE]\n\n',
      'data: null\n\n: a comment\n\nevent: ping\n\n',
      frames([
        { type: 'data-secret', data: CANARY },
        { type: 'invented', token: CANARY },
        { type: 'text-delta', id: 'nowhere', delta: 'x' },
        { type: 'text-end', id: 'nowhere' },
        { type: 'text-delta', id: 'text-1', delta: 7 },
        { type: 'tool-output-available', toolCallId: 'nowhere', output: {} },
        { type: 'tool-input-available', toolCallId: 1, toolName: 'x' },
        {
          type: 'tool-input-available',
          toolCallId: 'x',
          toolName: 'x',
          input: { idToken: CANARY },
        },
        { noType: true },
      ]),
    ].join('');
    const end = frames([...text('Fine.'), { type: 'finish', x: CANARY }]);
    answers.push(stream(`${frames([{ type: 'start' }])}${odd}${end}${frames(text('Late.'))}`));
    expect(await send('Hello')).toEqual([{ type: 'start' }, ...text('Fine.'), { type: 'finish' }]);
  });

  it("shows the agent's errors, not at any length, and each tool's output once", async () => {
    const { send, answers } = page(sdk);
    const [call, output] = toolCall('lookup', { found: 1 });
    const failing = { ...call, toolCallId: 'b' };
    const failed = { type: 'tool-output-error', toolCallId: 'b', errorText: 'Not found.' };
    const errors = ['x'.repeat(9_000), '', 7].map((errorText) => ({ type: 'error', errorText }));
    answers.push(answer(call, output, output, failing, failed, failed, ...errors));
    const chunks = await send('Hello');
    const none = { type: 'error', errorText: 'failed' };
    const cut = { type: 'error', errorText: 'x'.repeat(500) };
    expect(chunks.slice(1, -1)).toEqual([call, output, failing, failed, cut, none, none]);
  });

  it('does not mind a network that is lost after the end', async () => {
    const { send, answers } = page(sdk);
    answers.push(stream(failingAfter(whole(text('Fine.')), new TypeError('network error'))));
    expect((await send('Hello')).at(-1)).toEqual({ type: 'finish' });
  });

  it('reads an answer that arrives byte by byte, with either line ending', async () => {
    const { send, answers } = page(sdk);
    const bytes = encode(whole(text('Grüße, 你好')).replaceAll('\n', '\r\n'));
    answers.push(stream(streamOf([...bytes].map((byte) => Uint8Array.of(byte)))));
    const chunks = await send('Hello');
    expect(chunks).toEqual([{ type: 'start' }, ...text('Grüße, 你好'), { type: 'finish' }]);
  });

  it.each([
    ['ends early', () => stream(beginning)],
    ['loses the network', () => stream(failingAfter(beginning, new TypeError('network error')))],
  ])('says so if an answer %s, and the chat goes on', async (_name, cut) => {
    const { send, answers } = page(sdk);
    answers.push(cut);
    const chunks = await send('Hello');
    expect(chunks.slice(-2)).toEqual([
      { type: 'text-end', id: 'text-1' },
      { type: 'error', errorText: 'answer_cut_off' },
    ]);
    expect((await send('Again')).at(-1)).toEqual({ type: 'finish' });
  });

  it('ends without a complaint if the visitor stops the answer', async () => {
    const { send, answers, posts, stop } = page(sdk);
    const stopped = new DOMException('stopped', 'AbortError');
    const beforeAnyAnswer = () => Promise.reject(stopped);
    answers.push(stream(failingAfter(beginning, stopped)), beforeAnyAnswer);
    await expect(send('Hello')).rejects.toMatchObject({ name: 'AbortError' });
    await expect(send('Hello')).rejects.toMatchObject({ name: 'AbortError' });
    const aborted = () => posts.map(({ init }) => init?.signal?.aborted);
    expect(aborted()).toEqual([false, false]);
    stop.abort();
    expect(aborted()).toEqual([true, true]);
  });

  it('ends without a complaint if the visitor stops while a refusal is read', async () => {
    const { send, answers, stop } = page(sdk);
    const pull = (controller: ReadableStreamDefaultController) => {
      stop.abort();
      controller.error(new DOMException('stopped', 'AbortError'));
    };
    const cutOff = new ReadableStream({ pull }, { highWaterMark: 0 });
    answers.push(new Response(cutOff, { status: 503 }));
    await expect(send('Hello')).rejects.toMatchObject({ name: 'AbortError' });
  });

  it.each(['the agent', 'AWS'])(
    'lets go of %s before it answers, if the visitor stops',
    async (who) => {
      const never = vi.fn(() => new Promise<Response>(() => undefined));
      const { send, answers, stop } = page(sdk, {
        config: who === 'AWS' ? aws : config,
        loadGuestCaller: async () => ({ callGuestRuntime: never }),
      });
      answers.push(never);
      const sending = send('Hello');
      await vi.waitFor(() => expect(never).toHaveBeenCalled());
      stop.abort();
      await expect(sending).rejects.toMatchObject({ name: 'AbortError' });
      answers.push(never);
      await expect(send('Stopped before it began')).rejects.toMatchObject({ name: 'AbortError' });
    },
  );

  describe('with an agent that hangs', () => {
    beforeEach(() => void vi.useFakeTimers());
    afterEach(() => void vi.useRealTimers());

    it.each([false, true])(
      'says so if there is no answer (guest runtime on AWS: %s)',
      async (onAws) => {
        const signals: (AbortSignal | null | undefined)[] = [];
        const { send, answers, posts } = page(sdk, {
          config: onAws ? aws : config,
          loadGuestCaller: async () => ({
            callGuestRuntime: (_config, call) => {
              signals.push(call.signal);
              return new Promise(() => undefined);
            },
          }),
        });
        answers.push(() => new Promise(() => undefined));
        const sending = expect(send('Hello')).rejects.toMatchObject({ code: 'silent' });
        await vi.advanceTimersByTimeAsync(SILENCE_MS);
        await sending;
        const { aborted } = (onAws ? signals : posts.map(({ init }) => init?.signal))[0] ?? {};
        expect([aborted, vi.getTimerCount()]).toEqual([true, 0]);
        if (!onAws) expect((await send('Again')).at(-1)).toEqual({ type: 'finish' });
      },
    );

    it('gives no answer up that has begun, however long it takes', async () => {
      const { send, answers, posts } = page(sdk);
      const { bytes, send: write } = connection();
      answers.push(stream(bytes));
      const sending = send('Hello');
      write(beginning);
      for (let times = 0; times < 3; times++) {
        await vi.advanceTimersByTimeAsync(SILENCE_MS - 1);
        write(': still here\n');
      }
      write(frames([{ type: 'text-end', id: 'text-1' }, { type: 'finish' }]));
      expect((await sending).at(-1)).toEqual({ type: 'finish' });
      expect(posts[0]?.init?.signal?.aborted).toBe(false);
    });

    it.each([
      ['that never ends', '{"code": "session_busy"', 1, 'session_busy'],
      ['without an end in sight', ' '.repeat(9_000), 100, 'overloaded'],
    ])('tells of a refusal %s by what has come of it', async (_name, piece, pieces, told) => {
      const { send, answers } = page(sdk);
      let pulls = 0;
      const cancelled = vi.fn();
      const body = new ReadableStream({
        pull(controller) {
          if (pulls++ < pieces) controller.enqueue(encode(piece));
          else return new Promise<void>(() => undefined);
        },
        cancel: cancelled,
      });
      answers.push(
        new Response(body, { status: 503, headers: { 'content-type': 'application/json' } }),
      );
      const sending = expect(send('Hello')).rejects.toMatchObject({ code: told });
      await vi.advanceTimersByTimeAsync(SILENCE_MS);
      await sending;
      expect([cancelled.mock.calls.length, pulls < 10]).toEqual([1, true]);
    });
  });

  it.each([
    ['one endless frame', () => `data: ${'x'.repeat(64_000)}`],
    [
      'endless text',
      () => frames([{ type: 'text-delta', id: 'text-1', delta: 'x'.repeat(64_000) }]),
    ],
  ])('stops reading %s', async (_name, more) => {
    const { send, answers } = page(sdk);
    let pulls = 0;
    const cancelled = vi.fn();
    answers.push(
      stream(
        new ReadableStream({
          pull(controller) {
            controller.enqueue(encode(pulls++ === 0 ? beginning : more()));
          },
          cancel: cancelled,
        }),
      ),
    );
    const chunks = await send('Hello');
    expect(chunks.at(-1)).toEqual({ type: 'error', errorText: 'answer_too_long' });
    expect([cancelled.mock.calls.length, pulls < 100]).toEqual([1, true]);
  });

  it.each(inBothForms)(
    'refreshes once after a token is refused %s and asks again with the new one',
    async (_form, refused) => {
      const { send, answers, posts, cognito } = memberPage(sdk);
      answers.push(refused(401, 'invalid_token'));
      cognito.push(renewed());
      expect((await send('Hello')).at(-1)).toEqual({ type: 'finish' });
      expect(posts.map(({ authorization }) => authorization)).toEqual([
        `Bearer ${sessionOf('ada', NOW).accessToken}`,
        `Bearer ${fresh}`,
      ]);
      expect(posts[1]?.chatId).toBe(posts[0]?.chatId);
    },
  );

  it('takes a refusal that AgentCore has wrapped in another status as the same', async () => {
    const { send, answers, cognito, store } = memberPage(sdk);
    answers.push(refusal(424, 'invalid_token'));
    cognito.push(Response.json({ __type: 'NotAuthorizedException' }, { status: 400 }));
    await expect(send('Hello')).rejects.toMatchObject({ code: 'sign_in_ended' });
    expect(store.read()).toBeNull();
  });

  it.each(inBothForms)(
    'is anonymous again after a second token is refused %s, and asks for no second sign-in',
    async (_form, refused) => {
      const { send, answers, posts, cognito, store, signedOut } = memberPage(sdk);
      answers.push(refused(401, 'invalid_token'), refused(401, 'invalid_token'));
      cognito.push(renewed());
      await expect(send('Show my bookings')).rejects.toMatchObject({ code: 'sign_in_ended' });
      expect(posts).toHaveLength(2);
      expect([store.read(), signedOut]).toEqual([null, ['expired']]);
      await send('Show my bookings');
      expect(posts[2]).toMatchObject({ url: config.guestEndpoint, authorization: null });
      expect(posts[2]?.chatId).not.toBe(posts[1]?.chatId);
    },
  );

  it('keeps the sign-in that another tab has renewed meanwhile', async () => {
    const { send, answers, cognito, store, elsewhere } = memberPage(sdk);
    answers.push(refusal(401, 'invalid_token'), () => {
      elsewhere(sessionOf('ada', NOW, { accessToken: jwt('ada', NOW, 900, 'newer') }));
      return refusal(401, 'invalid_token');
    });
    cognito.push(renewed());
    await expect(send('Hello')).rejects.toThrow();
    expect(store.read()?.accessToken).toContain('newer');
  });

  it('posts nothing anonymously when the sign-in turns out to have ended', async () => {
    const { send, posts, cognito, store } = page(sdk);
    store.save(sessionOf('ada', NOW, { expiresAt: NOW }));
    cognito.push(Response.json({ __type: 'NotAuthorizedException' }, { status: 400 }));
    await expect(send('Show my bookings')).rejects.toMatchObject({ code: 'sign_in_ended' });
    expect([store.read(), posts]).toEqual([null, []]);
  });

  it.each([0, 1])('takes no other refusal for a bad token (%i refreshes)', async (refreshes) => {
    const { send, answers, posts, cognito, store } = memberPage(sdk);
    if (refreshes === 1) answers.push(refusal(401, 'invalid_token'));
    answers.push(refusal(429, 'whatever'));
    cognito.push(renewed());
    await expect(send('Hello')).rejects.toMatchObject({ code: 'overloaded' });
    expect([posts.length, cognito.length]).toEqual([1 + refreshes, 1 - refreshes]);
    expect(store.read()?.sub).toBe('ada');
  });

  it('stays signed in over a 401 while Cognito cannot be reached', async () => {
    const { send, answers, cognito, store } = memberPage(sdk);
    answers.push(refusal(401, 'invalid_token'));
    cognito.push(lost);
    await expect(send('Hello')).rejects.toMatchObject({ code: 'sign_in_unreachable' });
    expect(store.read()?.sub).toBe('ada');
  });

  it("never posts one visitor's question in another's name", async () => {
    const { send, answers, posts, elsewhere } = memberPage(sdk);
    answers.push(() => {
      elsewhere(sessionOf('grace', NOW));
      return refusal(401, 'invalid_token');
    });
    await expect(send('My secret')).rejects.toMatchObject({ code: 'user_changed' });
    expect(posts).toHaveLength(1);
  });

  it.each([
    ['an anonymous visitor', null, sessionOf('grace', NOW), 'user_changed'],
    ['a member', sessionOf('ada', NOW), sessionOf('grace', NOW), 'user_changed'],
    ['a member', sessionOf('ada', NOW), null, 'sign_in_ended'],
  ])(
    'posts nothing of %s before it has heard of another tab, and shows who is there',
    async (_name, before, since, told) => {
      const { send, posts, store, storage } = page(sdk);
      if (before) store.save(before);
      const heard: unknown[] = [];
      store.subscribe(({ current }) => heard.push(current?.sub));
      if (since) storage.setItem(STORAGE_KEY, JSON.stringify(since));
      else storage.removeItem(STORAGE_KEY);
      await expect(send('My secret')).rejects.toMatchObject({ code: told });
      expect([posts, heard]).toEqual([[], [since?.sub]]);
      await send('Hello');
      expect(posts).toHaveLength(1);
    },
  );

  it('begins a new chat with every change of user, here or in another tab', async () => {
    const { send, posts, store, elsewhere, signedOut } = page(sdk);
    await send('one');
    elsewhere(sessionOf('ada', NOW));
    await send('two');
    elsewhere(sessionOf('ada', NOW, { expiresAt: NOW + 800_000 }));
    await send('two again');
    elsewhere(sessionOf('grace', NOW));
    await send('three');
    elsewhere(null);
    await send('four');
    store.save(sessionOf('grace', NOW));
    store.signOut();
    await send('five');
    const ids = posts.map(({ chatId }) => chatId);
    expect(ids[2]).toBe(ids[1]);
    expect(new Set(ids).size).toBe(5);
    expect(signedOut).toEqual(['other-tab', 'user']);
  });

  it.each([
    [400, 'session_busy', 'session_busy'],
    [503, 'keys_unavailable', 'keys_unavailable'],
    [403, 'foreign_session', 'foreign_session'],
    [429, 'whatever', 'overloaded'],
    [500, 'internal_error', 'not_answered'],
    [200, 'session_busy', 'session_busy'],
    [403, 'constructor', 'not_answered'],
    [503, '__proto__', 'overloaded'],
  ])('tells of a %i (%s) by the code %s', async (status, code, told) => {
    const { send, answers, posts } = page(sdk);
    answers.push(refusal(status, code));
    await expect(send('Hello')).rejects.toMatchObject({ code: told });
    expect((await send('Again')).at(-1)).toEqual({ type: 'finish' });
    const newChat = posts[0]?.chatId !== posts[1]?.chatId;
    expect(newChat).toBe(code === 'foreign_session');
  });

  it.each([
    ['session_busy', 'session_busy'],
    ['busy', 'busy'],
    ['keys_unavailable', 'keys_unavailable'],
    ['foreign_session', 'foreign_session'],
    ['invalid_request', 'not_answered'],
    ['internal_error', 'not_answered'],
  ])('tells of a refusal in a stream (%s) by the code %s', async (code, told) => {
    const { send, answers, posts } = page(sdk);
    answers.push(refusalInStream(200, code));
    await expect(send('Hello')).rejects.toMatchObject({ code: told });
    expect((await send('Again')).at(-1)).toEqual({ type: 'finish' });
    const newChat = posts[0]?.chatId !== posts[1]?.chatId;
    expect(newChat).toBe(code === 'foreign_session');
  });

  it('takes an error for a refusal only where an answer would begin, and with a code', async () => {
    const { send, answers, cognito, store } = memberPage(sdk);
    const refused = { type: 'error', errorText: '{"error":"no","code":"invalid_token"}' };
    const sentence = { type: 'error', errorText: 'The last message is still being answered.' };
    answers.push(answer(refused), stream(frames([sentence, { type: 'finish' }])));
    expect(await send('Hello')).toEqual([{ type: 'start' }, refused, { type: 'finish' }]);
    expect(await send('Hello')).toEqual([sentence, { type: 'finish' }]);
    expect([store.read()?.sub, cognito.length]).toEqual(['ada', 0]);
  });

  it('sends nothing again and keeps the sign-in if the agent failed behind AgentCore', async () => {
    const { send, answers, posts, cognito, store } = memberPage(sdk);
    answers.push(agentCore(424));
    cognito.push(renewed());
    await expect(send('Hello')).rejects.toMatchObject({ code: 'not_answered' });
    expect([posts.length, cognito.length, store.read()?.sub]).toEqual([1, 1, 'ada']);
  });

  describe('with an AgentCore that did not take the message', () => {
    beforeEach(() => void vi.useFakeTimers());
    afterEach(() => void vi.useRealTimers());

    it.each([
      ['a guest', page],
      ['a member', memberPage],
    ])('sends that of %s once more, after a while', async (_who, open) => {
      const { send, answers, posts } = open(sdk);
      answers.push(agentCore(409));
      const sending = send('Hello');
      await vi.advanceTimersByTimeAsync(500);
      expect(posts).toHaveLength(1);
      await vi.advanceTimersByTimeAsync(500);
      expect((await sending).at(-1)).toEqual({ type: 'finish' });
      expect(posts).toHaveLength(2);
      expect({ ...posts[1], init: null }).toEqual({ ...posts[0], init: null });
    });

    it('sends that for the guest runtime on AWS once more too', async () => {
      const results = [new Response(null, { status: 409 }), answer(...text('From AWS.'))];
      const call = vi.fn(async () => results.shift() ?? Response.error());
      const load = async () => ({ callGuestRuntime: call });
      const { send } = page(sdk, { config: aws, loadGuestCaller: load });
      const sending = send('Hello');
      await vi.advanceTimersByTimeAsync(1_000);
      expect(await sending).toContainEqual(text('From AWS.')[1]);
      expect(call).toHaveBeenCalledTimes(2);
    });

    it.each([
      ['a guest', page],
      ['a member', memberPage],
    ])('tells %s after the second time to wait', async (_who, open) => {
      const { send, answers, posts } = open(sdk);
      answers.push(agentCore(409), agentCore(409));
      const sending = expect(send('Hello')).rejects.toMatchObject({ code: 'session_busy' });
      await vi.advanceTimersByTimeAsync(60_000);
      await sending;
      expect(posts).toHaveLength(2);
    });

    it('sends nothing again that the visitor has stopped', async () => {
      const { send, answers, posts, stop } = page(sdk);
      answers.push(agentCore(409));
      const sending = expect(send('Hello')).rejects.toMatchObject({ name: 'AbortError' });
      await vi.advanceTimersByTimeAsync(500);
      stop.abort();
      await vi.advanceTimersByTimeAsync(500);
      await sending;
      expect(posts).toHaveLength(1);
    });

    it('never sends it in the chat of who has signed in meanwhile', async () => {
      const { send, answers, posts, elsewhere } = memberPage(sdk);
      answers.push(agentCore(409));
      const sending = send('My secret');
      await vi.advanceTimersByTimeAsync(500);
      elsewhere(sessionOf('grace', NOW));
      await vi.advanceTimersByTimeAsync(500);
      await sending;
      await send('Hello');
      const [first, second, graces] = posts.map(({ chatId, authorization: token }) => [
        chatId,
        token,
      ]);
      expect(second).toEqual(first);
      expect([graces?.[0] === first?.[0], graces?.[1] === first?.[1]]).toEqual([false, false]);
    });
  });

  it('tells of a lost network and a message that is too long', async () => {
    const { send, answers, posts } = page(sdk);
    answers.push(() => {
      throw new TypeError(`failed: ${CANARY}`);
    });
    await expect(send('Hello')).rejects.toMatchObject({ message: 'unreachable' });
    await expect(send('x'.repeat(8_001))).rejects.toMatchObject({ code: 'message_too_long' });
    expect(posts).toHaveLength(1);
  });

  it('calls the guest runtime only where it is configured, and never for a member', async () => {
    const call = vi.fn(async () => answer(...text('From AWS.')));
    const load = vi.fn(async () => ({ callGuestRuntime: call }));
    for (const half of [{}, { guestRuntimeArn: 'arn:aws:example' }, { identityPoolId: 'pool' }]) {
      await page(sdk, { config: { ...config, ...half }, loadGuestCaller: load }).send('Hello');
    }
    expect(load).not.toHaveBeenCalled();

    const { send, posts, store } = page(sdk, { config: aws, loadGuestCaller: load });
    expect(await send('Hello')).toContainEqual(text('From AWS.')[1]);
    expect(call).toHaveBeenCalledWith(aws, {
      body: JSON.stringify({ prompt: 'Hello', locale }),
      chatId: expect.stringMatching(/^[0-9a-f-]{36}$/),
      signal: expect.any(AbortSignal),
    });
    store.save(sessionOf('ada', NOW));
    await send('Hello');
    expect([call.mock.calls.length, posts.length]).toEqual([1, 1]);
  });
});
