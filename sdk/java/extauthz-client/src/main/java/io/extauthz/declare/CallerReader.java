package io.extauthz.declare;

import io.extauthz.client.AssertionRejectedException;
import io.extauthz.client.AssertionVerifier;
import io.extauthz.client.UnreachableException;
import io.extauthz.client.VerifiedAssertion;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;

/**
 * Reads the caller of a request from what the mesh sent along.
 *
 * <p>INVARIANT: without a verified assertion no header is believed, unless the reader was made for a network
 * in which only the mesh reaches the application.
 */
public final class CallerReader {

    /** The header of the assertion. */
    public static final String ASSERTION = "x-auth-assertion";

    private static final String PREFIX = "x-auth-";
    private static final Set<String> KINDS = Set.of("user", "service", "workload", "anonymous");

    private final AssertionVerifier verifier;
    private final boolean trustsHeaders;

    private CallerReader(AssertionVerifier verifier, boolean trustsHeaders) {
        this.verifier = verifier;
        this.trustsHeaders = trustsHeaders;
    }

    /**
     * Returns a reader that believes assertions alone.
     *
     * @param verifier verifies them
     * @return the reader
     */
    public static CallerReader ofAssertions(AssertionVerifier verifier) {
        return new CallerReader(verifier, false);
    }

    /**
     * Returns a reader that believes the {@code x-auth-*} headers: only the mesh can reach the application.
     *
     * @return the reader
     */
    public static CallerReader ofTrustedHeaders() {
        return new CallerReader(null, true);
    }

    /**
     * Returns a reader that believes nothing.
     *
     * @return the reader
     */
    public static CallerReader none() {
        return new CallerReader(null, false);
    }

    /**
     * Tells whether a header says who the caller is: such a header of another sender is not to be read.
     *
     * @param name the name of a header
     * @return whether it is an identity header, in whatever spelling
     */
    public static boolean isIdentityHeader(String name) {
        String folded = name.toLowerCase(Locale.ROOT);
        return folded.length() >= PREFIX.length()
                && folded.startsWith("x") && folded.startsWith("auth", 2)
                && !Character.isLetterOrDigit(folded.charAt(1))
                && !Character.isLetterOrDigit(folded.charAt(PREFIX.length() - 1));
    }

    /**
     * Tells whether a caller can be known at all.
     *
     * @return whether assertions or headers are believed
     */
    public boolean canRead() {
        return verifier != null || trustsHeaders;
    }

    /**
     * Returns the caller of a request.
     *
     * @param headers returns the values of a header by its name, an empty list where it is not there
     * @return the caller; empty where the request did not come through the mesh
     * @throws UnreachableException the keys of assertions cannot be fetched
     */
    public Optional<Caller> read(Function<String, List<String>> headers) {
        if (verifier != null) {
            return verified(headers.apply(ASSERTION));
        }
        return trustsHeaders ? trusted(headers) : Optional.empty();
    }

    private Optional<Caller> verified(List<String> assertions) {
        if (assertions.size() != 1) {
            return Optional.empty();
        }
        VerifiedAssertion said;
        try {
            said = verifier.verify(assertions.get(0));
        } catch (AssertionRejectedException error) {
            return Optional.empty();
        }
        return Optional.of(new Caller(said.subject(), said.kind(), said.roles(), said.tenant(), said.domain(), true));
    }

    private static Optional<Caller> trusted(Function<String, List<String>> headers) {
        for (String name : List.of("kind", "subject", "tenant", "domain", "roles", "roles-truncated")) {
            if (headers.apply(PREFIX + name).size() > 1) {
                return Optional.empty();
            }
        }
        String kind = one(headers, "kind");
        String subject = one(headers, "subject");
        if (kind == null || !KINDS.contains(kind) || (subject == null) != kind.equals("anonymous")) {
            return Optional.empty();
        }
        String roles = one(headers, "roles");
        boolean truncated = "true".equals(one(headers, "roles-truncated"));
        try {
            return Optional.of(new Caller(
                    subject == null ? null : decoded(subject),
                    kind,
                    truncated ? null : roles(roles),
                    decodedOrNull(one(headers, "tenant")),
                    decodedOrNull(one(headers, "domain")),
                    false));
        } catch (IllegalArgumentException error) {
            return Optional.empty();
        }
    }

    private static String one(Function<String, List<String>> headers, String name) {
        List<String> values = headers.apply(PREFIX + name);
        return values.isEmpty() || values.get(0).isEmpty() ? null : values.get(0);
    }

    private static List<String> roles(String header) {
        return header == null ? List.of() : Arrays.stream(header.split(",")).map(CallerReader::decoded).toList();
    }

    private static String decodedOrNull(String text) {
        return text == null ? null : decoded(text);
    }

    /** Decodes percent-encoded UTF-8; a plus sign is a plus sign. */
    private static String decoded(String text) {
        var octets = new ByteArrayOutputStream(text.length());
        for (int i = 0; i < text.length(); i++) {
            char each = text.charAt(i);
            if (each >= 0x80) {
                throw new IllegalArgumentException("an identity header is not ASCII");
            }
            if (each != '%') {
                octets.write(each);
                continue;
            }
            int high = i + 2 <= text.length() - 1 ? Character.digit(text.charAt(i + 1), 16) : -1;
            int low = i + 2 <= text.length() - 1 ? Character.digit(text.charAt(i + 2), 16) : -1;
            if (high < 0 || low < 0) {
                throw new IllegalArgumentException("an identity header has a malformed escape");
            }
            octets.write(high << 4 | low);
            i += 2;
        }
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(octets.toByteArray())).toString();
        } catch (CharacterCodingException error) {
            throw new IllegalArgumentException("an identity header is not UTF-8", error);
        }
    }
}
