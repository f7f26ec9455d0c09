// Cognito's answers as the browser reads them: which refusals are final, and how long tokens live.
import { describe, expect, it } from 'vitest';
import { config, jwt, NOW, sessionOf } from '../testing/fakes';
import { CognitoClient } from './cognito';

const refresh = (answer: Response) =>
  new CognitoClient(
    config,
    async () => answer,
    () => NOW,
  ).refresh(sessionOf('ada', NOW));

describe('CognitoClient', () => {
  const final = 'NotAuthorizedException';
  const own = { AccessToken: jwt('ada', NOW), IdToken: jwt('ada', NOW), ExpiresIn: 900 };
  const tokens = (changes: object) =>
    Response.json({ AuthenticationResult: { ...own, ...changes } });
  const header = (type: string) => ({ status: 400, headers: { 'X-Amzn-ErrorType': type } });
  const body = (answer: object) => Response.json(answer, { status: 400 });
  const address = 'http://internal.example.com/coral/com.example.service/';
  it.each([
    ['a body', body({ __type: 'NotAuthorizedException' })],
    ['a namespace', body({ __type: 'com.example.cognito#NotAuthorizedException' })],
    ['an address behind', body({ __type: `NotAuthorizedException:${address}#x` })],
    ['both', body({ __type: `com.example#UserNotFoundException:${address}` })],
    ['a code', body({ code: 'UserNotFoundException' })],
    ['a header', new Response('{}', header(`NotAuthorizedException:${address}`))],
    ['a header without a body', new Response('', header('NotAuthorizedException'))],
    ['a header before a body', Response.json({ __type: 'x' }, header('NotAuthorizedException'))],
  ])('reads a final refusal out of %s', async (_name, answer) =>
    expect(await refresh(answer)).toBe('refused'),
  );

  it('tells a refresh token that was replaced from one that has ended', async () =>
    expect(await refresh(body({ __type: 'RefreshTokenReuseException' }))).toBe('reused'));

  it.each([
    ['throttling', body({ __type: 'TooManyRequestsException' })],
    ['a code that is a number', body({ code: 400 })],
    ['a list', body([{ __type: 'NotAuthorizedException' }])],
    ['a name that only begins so', body({ __type: 'NotAuthorizedExceptionally' })],
    ['no body', new Response(null, { status: 500 })],
    ['a final one with another status', Response.json({ __type: final }, { status: 500 })],
    ['a firewall', Response.json({ __type: final }, { status: 403 })],
    ['an empty access token', tokens({ AccessToken: '' })],
    ['an empty ID token', tokens({ IdToken: '' })],
    ['a token that cannot be read', tokens({ AccessToken: 'a.b.c' })],
  ])('takes %s for none', async (_name, answer) =>
    expect(await refresh(answer)).toBe('unreachable'),
  );

  it.each(['AccessToken', 'IdToken'])("refuses another's %s", async (name) =>
    expect(await refresh(tokens({ [name]: jwt('mallory', NOW) }))).toBe('refused'),
  );

  it.each([
    ['exp', jwt('ada', NOW, 1e306), 900],
    ['ExpiresIn', jwt('ada', NOW, 0), 1e306],
  ])('takes an %s without bound for a day', async (_name, AccessToken, ExpiresIn) => {
    const answer = await refresh(tokens({ AccessToken, ExpiresIn }));
    expect(answer).toMatchObject({ expiresAt: NOW + 86_400_000 });
  });
});
