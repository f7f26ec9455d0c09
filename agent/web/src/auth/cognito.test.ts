// Cognito's answers as the browser reads them: which refusals are final, and how long tokens live.
import { describe, expect, it } from 'vitest';

import { CognitoClient } from './cognito';
import { config, jwt, sessionOf } from './testing';

const NOW = 1_790_000_000_000;

const refresh = (answer: Response) =>
  new CognitoClient(config, async () => answer, () => NOW).refresh(sessionOf('ada', NOW));

describe('CognitoClient', () => {
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
    ['a header without a body', new Response('', header('RefreshTokenReuseException'))],
    ['a header before a body', Response.json({ __type: 'x' }, header('NotAuthorizedException'))],
  ])('reads a final refusal out of %s', async (_name, answer) =>
    expect(await refresh(answer)).toBe('refused'),
  );

  it.each([
    ['throttling', body({ __type: 'TooManyRequestsException' })],
    ['a code that is a number', body({ code: 400 })],
    ['a list', body([{ __type: 'NotAuthorizedException' }])],
    ['a name that only begins so', body({ __type: 'NotAuthorizedExceptionally' })],
    ['no body', new Response(null, { status: 500 })],
  ])('takes %s for none', async (_name, answer) =>
    expect(await refresh(answer)).toBe('unreachable'),
  );

  it.each([
    ['exp', jwt('ada', NOW, 1e306), 900],
    ['ExpiresIn', jwt('ada', NOW, 0), 1e306],
  ])('takes an %s without bound for a day', async (_name, AccessToken, ExpiresIn) => {
    const AuthenticationResult = { AccessToken, IdToken: 'id', ExpiresIn };
    const tokens = await refresh(Response.json({ AuthenticationResult }));
    expect(tokens).toMatchObject({ expiresAt: NOW + 86_400_000 });
  });
});
