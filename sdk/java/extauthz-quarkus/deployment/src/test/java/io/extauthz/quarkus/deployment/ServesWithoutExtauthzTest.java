package io.extauthz.quarkus.deployment;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.declare.RegistrationState;
import io.extauthz.declare.Resource;
import io.extauthz.quarkus.runtime.Registration;
import io.quarkus.test.QuarkusUnitTest;
import jakarta.inject.Inject;
import jakarta.ws.rs.GET;
import jakarta.ws.rs.Path;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.net.ServerSocket;
import java.time.Duration;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.extension.RegisterExtension;

/** An application that starts while extauthz is away. */
class ServesWithoutExtauthzTest {

    @RegisterExtension
    static final QuarkusUnitTest APPLICATION =
            application().setAfterUndeployListener(ServesWithoutExtauthzTest::awaitTheEndOfTheSdksThreads);

    @Inject
    Registration registration;

    @Path("/orders")
    public static class Orders {
        @GET
        @Resource(name = "order:list")
        public String list() {
            return "orders";
        }
    }

    private static void awaitTheEndOfTheSdksThreads() {
        long deadline = System.nanoTime() + Duration.ofSeconds(10).toNanos();
        List<Thread> left;
        do {
            left = Thread.getAllStackTraces().keySet().stream()
                    .filter(thread -> thread.isAlive() && thread.getName().startsWith("extauthz"))
                    .toList();
        } while (!left.isEmpty() && System.nanoTime() < deadline);
        assertEquals(List.of(), left, "threads of the SDK after the application stopped");
    }

    /** Returns an application whose extauthz does not listen. */
    static QuarkusUnitTest application() {
        String nowhere;
        try (ServerSocket socket = new ServerSocket(0)) {
            nowhere = "http://127.0.0.1:" + socket.getLocalPort();
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
        return new QuarkusUnitTest()
                .withApplicationRoot(jar -> jar.addClasses(Answers.class, Orders.class))
                .overrideRuntimeConfigKey("extauthz.url", nowhere)
                .overrideRuntimeConfigKey("extauthz.attempts", "1")
                .overrideRuntimeConfigKey("EXTAUTHZ_SERVICE_API_KEY", "sak_live_0123456789abcdef0123456789abcdef");
    }

    @Test
    @Timeout(30)
    void servesAndItsHealthSaysWhyNothingIsRegistered() {
        assertEquals("orders", Answers.get("/orders"));
        while (!(registration.state().orElseThrow() instanceof RegistrationState.Failing)) {
            Thread.onSpinWait();
        }

        var health = Answers.send("GET", "/q/health/well");
        assertEquals(503, health.statusCode());
        assertTrue(health.body().contains("cannot be reached"), health.body());
        assertFalse(health.body().contains("sak_live_"), "the key is shown");
        assertEquals(200, Answers.send("GET", "/q/health/ready").statusCode());
    }
}
