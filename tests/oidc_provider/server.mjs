// An authorization server on loopback: oidc-provider with opaque and JWT access tokens, introspection and
// revocation. It prints one line of JSON when it listens, and ends when its standard input does.
import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';

import { Provider } from 'oidc-provider';

const options = JSON.parse(process.argv[2]);

function signingKey(type, kid, alg) {
  const { privateKey } = generateKeyPairSync(type, type === 'ec' ? { namedCurve: 'P-256' } : { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid, alg, use: 'sig' };
}

function client(id, method, more = {}) {
  return {
    client_id: id,
    token_endpoint_auth_method: method,
    grant_types: [],
    redirect_uris: [],
    response_types: [],
    ...more,
  };
}

const secret = { client_secret: options.secret };
const machine = { grant_types: ['client_credentials'], scope: 'orders:read orders:write' };

const server = createServer();
server.listen(options.port ?? 0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      client('worker', 'client_secret_basic', { ...secret, ...machine }),
      client('bound-worker', 'client_secret_basic', {
        ...secret, ...machine, tls_client_certificate_bound_access_tokens: true,
      }),
      client('worker-post', 'client_secret_post', { ...secret, ...machine }),
      client('worker-jwt', 'private_key_jwt', {
        ...machine, jwks: { keys: [options.clientKey] }, token_endpoint_auth_signing_alg: options.clientKey.alg,
      }),
      client('gateway-basic', 'client_secret_basic', secret),
      client('gateway-post', 'client_secret_post', secret),
      client('gateway-jwt', 'private_key_jwt', {
        jwks: { keys: [options.clientKey] }, token_endpoint_auth_signing_alg: options.clientKey.alg,
      }),
    ],
    jwks: { keys: [signingKey('rsa', 'rsa', 'RS256'), signingKey('ec', 'ec', 'ES256')] },
    cookies: { keys: ['not used by these grants'] },
    scopes: ['orders:read', 'orders:write'],
    clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'private_key_jwt'],
    enabledJWA: { clientAuthSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519'] },
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, asking, token) => asking.clientId.startsWith('gateway-') || asking.clientId === token.clientId,
      },
      revocation: { enabled: true, allowedPolicy: (_ctx, asking, token) => asking.clientId === token.clientId },
      mTLS: {
        enabled: true,
        certificateBoundAccessTokens: true,
        getCertificate: (ctx) => ctx.get('x-client-certificate')
          ? decodeURIComponent(ctx.get('x-client-certificate')) : undefined,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => 'urn:orders:opaque',
        getResourceServerInfo: (_ctx, resource) => ({
          scope: 'orders:read orders:write',
          audience: 'orders-api',
          accessTokenTTL: options.lifetime ?? 600,
          ...(resource === 'urn:orders:jwt'
            ? { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } }
            : { accessTokenFormat: 'opaque' }),
        }),
      },
    },
  });
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});

process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
