package io.extauthz.client;

import java.io.IOException;
import java.net.URI;
import java.nio.file.Path;
import java.security.PublicKey;
import java.time.Clock;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.ReentrantLock;
import javax.net.ssl.SSLContext;

/**
 * Verifies {@code x-auth-assertion}: that a request passed a check of extauthz, for this service, a moment ago.
 *
 * <p>A token is accepted if a published key of extauthz signed it, by ES256 or EdDSA and nothing else, for this
 * issuer and this audience, and it has not expired. Everything else is an {@link AssertionRejectedException}.
 * It is for any number of threads at once. Its threads are daemons.
 */
public final class AssertionVerifier implements AutoCloseable {

    /** The name of the header. */
    public static final String HEADER = "x-auth-assertion";

    private static final String TYPE = "assertion+jwt";
    private static final long LONGEST_LIFETIME_S = 300;
    private static final long LATEST_TIME_S = 1L << 53;
    private static final int MOST_CHARACTERS = 16384;
    private static final int MOST_KEYS_BYTES = 262144;

    /** Keys are fetched again after this time; if that fails, the last ones stay. */
    private static final long FRESH_NANOS = TimeUnit.SECONDS.toNanos(300);

    /** The shortest time between two fetches, so that made-up key ids do not cause one each. */
    private static final long REFETCH_NANOS = TimeUnit.SECONDS.toNanos(1);

    private record Known(Map<String, PublicKey> keys, long fetchedAt) {}

    private final URI keysUrl;
    private final String issuer;
    private final String audience;
    private final double leeway;
    private final Clock clock;
    private final Transport transport;
    private final ReentrantLock fetching = new ReentrantLock();
    private volatile Known known;
    private volatile long triedAt = System.nanoTime() - REFETCH_NANOS;

    private AssertionVerifier(Builder builder) {
        keysUrl = builder.keysUrl;
        issuer = builder.issuer;
        audience = builder.audience;
        leeway = builder.leeway.toNanos() / 1e9;
        clock = builder.clock;
        transport = new Transport(Trust.settings(builder.sslContext, builder.caCertificates), builder.timeout);
    }

    /**
     * Starts a verifier.
     *
     * @param keysUrl the place of the keys, {@code /.well-known/jwks.json} of the API
     * @param issuer the server's {@code ASSERTION_ISSUER}
     * @param audience this service: the {@code serviceName} of its resources
     * @return a builder
     * @throws IllegalArgumentException the address is not an http or https one, or the issuer or the audience
     *     is empty
     */
    public static Builder builder(URI keysUrl, String issuer, String audience) {
        return new Builder(keysUrl, issuer, audience);
    }

    /** Closes the connections. */
    @Override
    public void close() {
        transport.close();
    }

    /**
     * Returns what the header of a request says.
     *
     * @param values every value of the header; none stands for a request without it
     * @return what it says
     * @throws AssertionRejectedException the request did not pass extauthz, or not for this service, or not
     *     lately
     * @throws UnreachableException there are no keys yet, and they cannot be fetched
     */
    public VerifiedAssertion verify(List<String> values) {
        if (values.size() > 1) {
            throw new AssertionRejectedException("the request has more than one x-auth-assertion");
        }
        return verify(values.isEmpty() ? null : values.get(0));
    }

    /**
     * Returns what the value of the header says.
     *
     * @param token the value; null stands for a request without the header
     * @return what it says
     * @throws AssertionRejectedException the request did not pass extauthz, or not for this service, or not
     *     lately
     * @throws UnreachableException there are no keys yet, and they cannot be fetched
     */
    public VerifiedAssertion verify(String token) {
        if (token == null || token.isEmpty()) {
            throw new AssertionRejectedException("the request has no x-auth-assertion");
        }
        if (token.length() > MOST_CHARACTERS || !token.chars().allMatch(each -> each < 128)) {
            throw new AssertionRejectedException("the assertion is too long or not ASCII");
        }
        String[] parts = token.split("\\.", -1);
        if (parts.length != 3) { // RFC 7515 7.1
            throw new AssertionRejectedException("the assertion is not a signed JWT");
        }
        Map<?, ?> header = object(parts[0], "header");
        if (!TYPE.equals(header.get("typ")) || header.containsKey("crit")) {
            throw new AssertionRejectedException("the token is not of the type " + TYPE);
        }
        if (!(header.get("kid") instanceof String kid)) {
            throw new AssertionRejectedException("the assertion names no key");
        }
        byte[] signature = octets(parts[2], "signature");
        PublicKey key = key(kid);
        if (key == null) {
            throw new AssertionRejectedException("no published key has the key id of the assertion");
        }
        if (!PublicKeys.verifies(key, header.get("alg"), parts[0] + "." + parts[1], signature)) {
            throw new AssertionRejectedException("the signature does not verify");
        }
        return judged(object(parts[1], "payload"));
    }

    private VerifiedAssertion judged(Map<?, ?> claims) {
        if (!issuer.equals(claims.get("iss"))) {
            throw new AssertionRejectedException("the assertion is of another issuer");
        }
        if (!audience.equals(claims.get("aud"))) {
            throw new AssertionRejectedException("the assertion is for another service");
        }
        long issuedAt = time(claims.get("iat"));
        long expiresAt = time(claims.get("exp"));
        if (expiresAt <= issuedAt || expiresAt - issuedAt > LONGEST_LIFETIME_S) {
            throw new AssertionRejectedException("the assertion is valid for too long");
        }
        double now = clock.millis() / 1000.0;
        if (now - leeway >= expiresAt) {
            throw new AssertionRejectedException("the assertion has expired");
        }
        if (now + leeway < issuedAt) {
            throw new AssertionRejectedException("the assertion is from the future");
        }
        if (!(claims.get("kind") instanceof String kind && claims.get("tenant") instanceof String tenant)) {
            throw new AssertionRejectedException("the assertion names no kind or no tenant");
        }
        Object subject = claims.get("sub");
        Object domain = claims.get("domain");
        if (!(subject == null || subject instanceof String) || !(domain == null || domain instanceof String)) {
            throw new AssertionRejectedException("the subject or the domain is not a string");
        }
        if (subject == null && !kind.equals("anonymous")) {
            throw new AssertionRejectedException("the assertion names no subject");
        }
        return new VerifiedAssertion(
                (String) subject,
                kind,
                roles(claims.get("roles")),
                tenant,
                (String) domain,
                Instant.ofEpochSecond(issuedAt),
                Instant.ofEpochSecond(expiresAt));
    }

    private static long time(Object claim) {
        if (claim instanceof Long seconds && Math.abs(seconds) < LATEST_TIME_S) {
            return seconds;
        }
        throw new AssertionRejectedException("the assertion has no times");
    }

    private static List<String> roles(Object claim) {
        if (claim == null) {
            return null;
        }
        var roles = new ArrayList<String>();
        for (Object role : claim instanceof List<?> found ? found : java.util.Collections.singletonList(claim)) {
            if (!(claim instanceof List<?> && role instanceof String text)) {
                throw new AssertionRejectedException("the roles are not a list of strings");
            }
            roles.add(text);
        }
        return roles;
    }

    private PublicKey key(String kid) {
        long now = System.nanoTime();
        Known before = known;
        if (before != null && now - before.fetchedAt() < FRESH_NANOS) {
            PublicKey key = before.keys().get(kid);
            if (key != null) {
                return key;
            }
        }
        try {
            fetching.lockInterruptibly();
            try {
                // A fetch that another thread began while this one waited answers this one, too.
                if (now - triedAt >= REFETCH_NANOS) {
                    fetch();
                }
            } finally {
                fetching.unlock();
            }
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new UnreachableException(keysUrl + ": the thread was interrupted", error);
        }
        Known after = known;
        if (after == null) {
            throw new UnreachableException(keysUrl + ": the keys of assertions cannot be fetched");
        }
        return after.keys().get(kid);
    }

    /** Fetches the keys; where that fails the last ones stay. */
    private void fetch() throws InterruptedException {
        triedAt = System.nanoTime();
        Map<String, PublicKey> keys = null;
        try {
            Transport.Answer answer = transport.send("GET", keysUrl, Map.of(), null, MOST_KEYS_BYTES, false);
            if (answer.status() == 200) {
                keys = PublicKeys.read(answer.body());
            }
        } catch (IOException error) {
            return;
        }
        if (keys != null) {
            known = new Known(keys, System.nanoTime());
        }
    }

    private static Map<?, ?> object(String part, String what) {
        if (Json.read(octets(part, what)) instanceof Map<?, ?> found) {
            return found;
        }
        throw new AssertionRejectedException("the " + what + " of the assertion is not a JSON object");
    }

    private static byte[] octets(String part, String what) {
        try {
            return PublicKeys.octets(part);
        } catch (IllegalArgumentException error) {
            throw new AssertionRejectedException("the " + what + " of the assertion is not base64url");
        }
    }

    /** Collects what a verifier needs. Not for several threads at once. */
    public static final class Builder {

        private final URI keysUrl;
        private final String issuer;
        private final String audience;
        private Duration leeway = Duration.ofSeconds(5);
        private Duration timeout = Duration.ofSeconds(2);
        private Clock clock = Clock.systemUTC();
        private Path caCertificates;
        private SSLContext sslContext;

        private Builder(URI keysUrl, String issuer, String audience) {
            this.keysUrl = Addresses.http("the address of the keys", keysUrl);
            this.issuer = issuer;
            this.audience = audience;
            if (issuer.isEmpty() || audience.isEmpty()) {
                throw new IllegalArgumentException("an issuer and an audience are needed");
            }
        }

        /**
         * Sets how far clocks may differ.
         *
         * @param leeway the difference; it is 5 seconds where it is not set
         * @return this builder
         * @throws IllegalArgumentException it is less than 0
         */
        public Builder leeway(Duration leeway) {
            if (leeway.isNegative()) {
                throw new IllegalArgumentException("the leeway is not less than 0, unlike " + leeway);
            }
            this.leeway = leeway;
            return this;
        }

        /**
         * Sets how long a fetch of the keys may take.
         *
         * @param timeout the time, more than 0 and at most a day; it is 2 seconds where it is not set
         * @return this builder
         */
        public Builder timeout(Duration timeout) {
            this.timeout = Objects.requireNonNull(timeout, "timeout");
            return this;
        }

        /**
         * Sets the clock that tells whether an assertion has expired.
         *
         * @param clock the clock; it is the system's where it is not set
         * @return this builder
         */
        public Builder clock(Clock clock) {
            this.clock = Objects.requireNonNull(clock, "clock");
            return this;
        }

        /**
         * Trusts certificate authorities in addition to those of the JVM.
         *
         * @param file a file with certificates in PEM; null for none
         * @return this builder
         */
        public Builder caCertificates(Path file) {
            this.caCertificates = file;
            return this;
        }

        /**
         * Sets all of TLS.
         *
         * @param sslContext the settings; null for those of the JVM
         * @return this builder
         */
        public Builder sslContext(SSLContext sslContext) {
            this.sslContext = sslContext;
            return this;
        }

        /**
         * Makes the verifier. Nothing is fetched before the first assertion.
         *
         * @return the verifier
         * @throws IllegalArgumentException the timeout is not more than 0 or more than a day, the file of certificates
         *     cannot be used, or both it and an {@code SSLContext} are set
         */
        public AssertionVerifier build() {
            return new AssertionVerifier(this);
        }
    }
}
