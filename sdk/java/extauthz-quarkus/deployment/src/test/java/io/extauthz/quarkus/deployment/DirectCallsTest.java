package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.quarkus.test.QuarkusUnitTest;
import java.net.http.HttpResponse;
import java.time.Duration;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledIfSystemProperty;
import org.junit.jupiter.api.extension.RegisterExtension;

/** Calls that do not come through the mesh, decided by the demo's API with the caller's own token. */
@EnabledIfSystemProperty(named = Demo.PROPERTY, matches = ".+", disabledReason = Demo.WITHOUT)
class DirectCallsTest {

    @RegisterExtension
    static final QuarkusUnitTest APPLICATION = new QuarkusUnitTest()
            .withApplicationRoot(jar -> jar.addClasses(Answers.class, Demo.class, Guarded.class))
            .overrideConfigKey("quarkus.application.name", "quarkus-guarded")
            .overrideRuntimeConfigKey("extauthz.direct-calls", "check")
            .overrideRuntimeConfigKey("extauthz.url", Demo.fact("rest_url"))
            .overrideRuntimeConfigKey("extauthz.auth-server-url", Demo.fact("issuer"))
            .overrideRuntimeConfigKey("extauthz.client-id", Demo.fact("admin_client_id"))
            .overrideRuntimeConfigKey("ADMIN_CLIENT_SECRET", Demo.fact("admin_client_secret"));

    private static HttpResponse<String> call(String path, String person) {
        return Answers.send("GET", path, "Authorization", "Bearer " + Demo.fact(person));
    }

    @BeforeEach
    void isRegistered() {
        long deadline = System.nanoTime() + Duration.ofSeconds(30).toNanos();
        while (call("/guarded/7/blocking", "alice").statusCode() != 200) {
            assertTrue(System.nanoTime() < deadline, "the registration is not in effect");
        }
    }

    @Test
    void anAllowedTokenReachesEachFormOfEndpoint() {
        assertEquals("-", call("/guarded/7/blocking", "alice").body());
        assertEquals("- true", call("/guarded/7/event-loop", "alice").body());
        assertEquals("7/3", call("/guarded/7/below/3", "alice").body());
    }

    @Test
    void otherCallersDoNot() {
        for (String path : new String[] {"/guarded/7/blocking", "/guarded/7/event-loop", "/guarded/7/below/3"}) {
            assertEquals(403, call(path, "bob").statusCode(), path);
            assertEquals(401, call(path, "forged").statusCode(), path);
            assertEquals(401, call(path, "expired").statusCode(), path);
            HttpResponse<String> anonymous = Answers.send("GET", path);
            assertEquals(401, anonymous.statusCode(), path);
            assertEquals("Bearer", anonymous.headers().firstValue("WWW-Authenticate").orElseThrow());
            assertTrue(anonymous.body().contains("\"reason\":\"token_missing\""), anonymous.body());
        }
    }

    @Test
    void whatNothingGrantsIsDenied() {
        assertEquals(403, call("/guarded/7/below", "alice").statusCode());
        HttpResponse<String> undeclared = call("/guarded/7/undeclared", "admin");
        assertEquals(403, undeclared.statusCode());
        assertTrue(undeclared.body().contains("unmapped_route"), undeclared.body());
    }

    @Test
    void identityHeadersProveNothing() {
        HttpResponse<String> forged = Answers.send("GET", "/guarded/7/blocking",
                "x-auth-subject", "alice", "x-auth-kind", "user", "x-auth-roles", "finance", "x-auth-tenant", "default");
        assertEquals(401, forged.statusCode());
        HttpResponse<String> both = Answers.send("GET", "/guarded/7/blocking",
                "Authorization", "Bearer " + Demo.fact("alice"), "Authorization", "Bearer " + Demo.fact("bob"));
        assertEquals(401, both.statusCode());
    }
}
