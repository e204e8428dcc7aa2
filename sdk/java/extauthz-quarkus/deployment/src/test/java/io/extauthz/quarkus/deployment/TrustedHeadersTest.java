package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.quarkus.test.QuarkusUnitTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.RegisterExtension;

/** An application that only the mesh reaches. */
class TrustedHeadersTest {

    @RegisterExtension
    static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
            .withApplicationRoot(jar -> jar.addClasses(Answers.class, Guarded.class))
            .overrideRuntimeConfigKey("extauthz.registration.enabled", "false")
            .overrideRuntimeConfigKey("extauthz.trust-headers", "true");

    @Test
    void theHeadersNameTheCaller() {
        assertEquals("Zo\u00eb Zo\u00eb true", Answers.send("GET", "/guarded/7/blocking",
                "x-auth-subject", "Zo%C3%AB", "x-auth-kind", "user", "x-auth-roles", "audit,finance").body());
        assertEquals("anonymous - false", Answers.send("GET", "/guarded/7/blocking",
                "x-auth-kind", "anonymous").body());
    }

    @Test
    void withoutThemOrWithTwoOfOneThereIsNoCaller() {
        assertEquals("-", Answers.send("GET", "/guarded/7/blocking").body());
        assertEquals("-", Answers.send("GET", "/guarded/7/blocking",
                "x-auth-subject", "alice", "x-auth-subject", "bob", "x-auth-kind", "user").body());
    }
}
