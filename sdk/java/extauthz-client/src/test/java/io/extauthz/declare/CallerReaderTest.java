package io.extauthz.declare;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CallerReaderTest {

    private static final Map<String, List<String>> ALICE = Map.of(
            "x-auth-subject", List.of("alice"), "x-auth-kind", List.of("user"), "x-auth-tenant", List.of("default"),
            "x-auth-domain", List.of("emea"), "x-auth-roles", List.of("finance,a%2Cb"));

    private static Optional<Caller> read(CallerReader reader, Map<String, List<String>> headers) {
        return reader.read(name -> headers.getOrDefault(name, List.of()));
    }

    private static Optional<Caller> readWith(String name, String... values) {
        var headers = new java.util.HashMap<>(ALICE);
        headers.put(name, List.of(values));
        return read(CallerReader.ofTrustedHeaders(), headers);
    }

    @Test
    void headersAreBelievedOnlyWhereTheNetworkIsTrusted() {
        assertEquals(Optional.empty(), read(CallerReader.none(), ALICE));
        assertEquals(
                Optional.of(new Caller("alice", "user", List.of("finance", "a,b"), "default", "emea", false)),
                read(CallerReader.ofTrustedHeaders(), ALICE));
        assertFalse(CallerReader.none().canRead());
        assertTrue(CallerReader.ofTrustedHeaders().canRead());
    }

    @ParameterizedTest
    @CsvSource({"a b, a b", "a%20b, a b", "a%2520b, a%20b", "zo%C3%AB, zoë", "a+b, a+b"})
    void subjectIsDecodedOnce(String header, String subject) {
        assertEquals(subject, readWith("x-auth-subject", header).orElseThrow().subject());
    }

    @ParameterizedTest
    @ValueSource(strings = {"%", "%4", "%zz", "%FF", "zoë", ""})
    void malformedSubjectIsNoCaller(String header) {
        assertEquals(Optional.empty(), readWith("x-auth-subject", header));
    }

    @Test
    void repeatedOrContradictingHeadersAreNoCaller() {
        assertEquals(Optional.empty(), readWith("x-auth-subject", "alice", "bob"));
        assertEquals(Optional.empty(), readWith("x-auth-kind", "anonymous"));
        assertEquals(Optional.empty(), readWith("x-auth-kind", "root"));
        assertEquals(Optional.empty(), readWith("x-auth-roles", "a", "b"));
    }

    @Test
    void anonymousCallerHasNoSubject() {
        Caller caller = read(CallerReader.ofTrustedHeaders(), Map.of("x-auth-kind", List.of("anonymous"))).orElseThrow();
        assertTrue(caller.isAnonymous());
    }

    @Test
    void truncatedRolesAreNotKnown() {
        assertEquals(null, readWith("x-auth-roles-truncated", "true").orElseThrow().roles());
    }

    @ParameterizedTest
    @CsvSource({"x-auth-subject, true", "X-AUTH-ROLES, true", "x_auth_subject, true", "x.auth.kind, true",
            "x-authority, false", "x-author-id, false", "authorization, false", "x-auth, false"})
    void identityHeadersAreKnownInEachSpelling(String name, boolean known) {
        assertEquals(known, CallerReader.isIdentityHeader(name));
    }
}
