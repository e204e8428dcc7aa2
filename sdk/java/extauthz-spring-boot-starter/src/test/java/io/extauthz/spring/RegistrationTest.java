package io.extauthz.spring;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.extauthz.declare.DeclarationProblem;
import io.extauthz.declare.RegistrationState;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.springframework.boot.diagnostics.FailureAnalysis;
import org.springframework.context.ConfigurableApplicationContext;

@Timeout(120)
@SuppressWarnings("try")
class RegistrationTest {

    private final ScriptedExtauthz extauthz = new ScriptedExtauthz();

    @AfterEach
    void stop() {
        extauthz.close();
    }

    private static List<String> problems(ConfigurableApplicationContext application) {
        return application.getBean(Registration.class).problems().stream().map(DeclarationProblem::message).toList();
    }

    private static FailureAnalysis analysis(Throwable error) {
        return new ExtauthzFailureAnalyzer().analyze(error);
    }

    private static int freePort() throws IOException {
        try (var free = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            return free.getLocalPort();
        }
    }

    @Test
    void mappingsAreRegisteredWithTheKeyOfTheEnvironment() throws InterruptedException {
        try (var application = Applications.start(
                extauthz.url(), List.of(Controllers.Invoices.class, Controllers.Internal.class, Controllers.Inherits.class))) {
            ScriptedExtauthz.Asked asked = extauthz.registrations.take();
            assertEquals("/api/v1/resources/list", asked.path());
            assertEquals(Applications.KEY, asked.key());
            assertEquals(
                    List.of("inherited GET /inherited/{id}",
                            "invoice:delete DELETE /invoices/{number}",
                            "invoice:lines GET,POST /invoices/{number}/lines/**",
                            "invoice:read GET /invoices",
                            "invoice:read GET /invoices/",
                            "invoice:read GET /invoices/all",
                            "invoice:read GET /invoices/{number}"),
                    ScriptedExtauthz.routes(asked));
            Map<?, ?> resource = (Map<?, ?>) ((List<?>) asked.body()).get(0);
            assertEquals("billing", resource.get("serviceName"));
            assertEquals(List.of(), problems(application));
        }
    }

    @Test
    void patternsThatTheMeshCanExpressAreExpressed() throws InterruptedException {
        try (var application = Applications.start(extauthz.url(), List.of(Controllers.Patterns.class))) {
            assertEquals(
                    List.of("p * /any", "p GET /p/", "p GET /p/numbers/{n}", "p GET /p/{segment2}",
                            "p GET /p/{segment2}/pages", "p GET /rest/**"),
                    ScriptedExtauthz.routes(extauthz.registrations.take()));
            assertEquals(List.of(), problems(application));
        }
    }

    @Test
    void pathsOfContextServletAndProxyAreInTheTemplates() throws InterruptedException {
        try (var application = Applications.start(
                extauthz.url(), List.of(Controllers.Internal.class, Controllers.Inherits.class),
                "server.servlet.context-path=/shop", "spring.mvc.servlet.path=/api", "extauthz.prefix=/eu",
                "extauthz.host=api.example.com", "extauthz.service-name=shop")) {
            ScriptedExtauthz.Asked asked = extauthz.registrations.take();
            assertEquals(List.of("inherited GET /eu/shop/api/inherited/{id}"), ScriptedExtauthz.routes(asked));
            Map<?, ?> resource = (Map<?, ?>) ((List<?>) asked.body()).get(0);
            assertEquals("shop", resource.get("serviceName"));
            assertEquals("api.example.com", ((Map<?, ?>) ((List<?>) resource.get("routes")).get(0)).get("host"));
        }
    }

    @Test
    void problemsNameClassMethodAndFix() throws InterruptedException {
        try (var application = Applications.start(
                extauthz.url(), List.of(Controllers.Odd.class, Controllers.Torn.class, Controllers.WrongImport.class,
                        Controllers.Inherits.class))) {
            assertEquals(List.of("inherited GET /inherited/{id}"), ScriptedExtauthz.routes(extauthz.registrations.take()));
            List<String> problems = problems(application);
            assertEquals(6, problems.size(), problems.toString());
            for (String part : List.of("Odd.json (GET /odd/{name}.json)", "Odd.text (GET /odd/files/*.txt)",
                    "Odd.create (POST /odd/orders)", "Odd.imported (POST /odd/orders)",
                    "Torn.torn (GET /torn) is not registered: it has several @Resource that differ, 'first' and 'second'",
                    "WrongImport.wrong (GET /wrong) is not registered: it is annotated with jakarta.annotation.Resource;"
                            + " import io.extauthz.declare.Resource")) {
                assertTrue(problems.stream().anyMatch(each -> each.contains(part)), part + " in " + problems);
            }
        }
    }

    @Test
    void functionalRoutesAndActuatorAreNotOpenedByAWiderRoute() throws InterruptedException {
        try (var application = Applications.start(
                extauthz.url(), List.of(Controllers.Wide.class, Controllers.Functional.class))) {
            assertEquals(List.of("narrow GET /narrow/{id}"), ScriptedExtauthz.routes(extauthz.registrations.take()));
            List<String> problems = problems(application);
            assertTrue(problems.stream().anyMatch(each -> each.contains("Wide.wide (GET /wide/**)")
                    && each.contains("(every method /wide/inner/{id}), which has no @Resource")), problems.toString());
            assertTrue(problems.stream().anyMatch(each -> each.contains("Wide.management (GET /actuator/**)")
                    && each.contains("org.springframework.boot.webmvc.actuate")), problems.toString());
        }
        try (var application = Applications.start(extauthz.url(), List.of(Controllers.Wide.class))) {
            assertEquals(
                    List.of("narrow GET /narrow/{id}", "wide GET /wide/**"),
                    ScriptedExtauthz.routes(extauthz.registrations.take()));
        }
    }

    @Test
    void problemsStopTheStartWhereTheyAreToo() {
        Throwable error = assertThrows(Exception.class, () -> Applications.start(
                extauthz.url(), List.of(Controllers.Odd.class), "extauthz.problems=fail"));
        FailureAnalysis analysis = analysis(error);
        assertTrue(analysis.getDescription().contains("Odd.json (GET /odd/{name}.json)"), analysis.getDescription());
        assertTrue(analysis.getAction().contains("extauthz.problems=warn"), analysis.getAction());
        assertTrue(extauthz.registrations.isEmpty());
    }

    @Test
    void applicationStartsAndRegistersOnceTheServerIsThere() throws Exception {
        int port = freePort();
        try (var application = Applications.start("http://127.0.0.1:" + port, List.of(Controllers.Invoices.class));
                var later = new ScriptedExtauthz(port)) {
            later.registrations.take();
            assertTrue(application.isRunning());
        }
    }

    @Test
    void wrongKeyIsOneMessageAndTheApplicationServes() throws InterruptedException {
        for (int i = 0; i < 100; i++) {
            extauthz.refusals.add(new ScriptedExtauthz.Refusal(401, "the key is unknown", List.of()));
        }
        try (var application = Applications.start(extauthz.url(), List.of(Controllers.Invoices.class))) {
            extauthz.registrations.take();
            extauthz.registrations.take();
            var failing = assertInstanceOf(
                    RegistrationState.Failing.class, application.getBean(Registration.class).state());
            assertTrue(failing.message().contains("401"), failing.message());
            assertTrue(failing.message().contains("EXTAUTHZ_SERVICE_API_KEY"), failing.message());
            assertFalse(failing.message().contains(Applications.KEY), failing.message());
        }
    }

    @Test
    void resourceOfAnotherServiceStopsARequiredRegistration() {
        extauthz.refusals.add(new ScriptedExtauthz.Refusal(409, "conflict",
                List.of(Map.of("pointer", "/0", "message", "the name belongs to the service 'orders'"))));
        Throwable error = assertThrows(Exception.class, () -> Applications.start(
                extauthz.url(), List.of(Controllers.Inherits.class), "extauthz.registration.required=true"));
        FailureAnalysis analysis = analysis(error);
        assertTrue(analysis.getDescription().contains(
                "'inherited' of io.extauthz.spring.Controllers$Inherits.read: the name belongs to the service 'orders'"),
                analysis.getDescription());
        assertTrue(analysis.getAction().contains("extauthz.registration.required=false"), analysis.getAction());
    }

    @Test
    void serverThatIsAwayStopsARequiredRegistration() throws IOException {
        int port = freePort();
        Throwable error = assertThrows(Exception.class, () -> Applications.start(
                "http://127.0.0.1:" + port, List.of(Controllers.Inherits.class),
                "extauthz.registration.required=true", "extauthz.registration.timeout=300ms"));
        assertTrue(analysis(error).getDescription().contains("cannot be reached"), analysis(error).getDescription());
    }

    @Test
    void requiredRegistrationEndsBeforeTheServerServes() {
        try (var application = Applications.start(
                extauthz.url(), List.of(Controllers.Inherits.class), "extauthz.registration.required=true")) {
            assertInstanceOf(RegistrationState.Registered.class, application.getBean(Registration.class).state());
        }
    }

    @Test
    void missingAddressIsOneMessageAndTheApplicationServes() {
        try (var application = Applications.start(Map.of(), List.of(Controllers.Inherits.class))) {
            var failing = assertInstanceOf(
                    RegistrationState.Failing.class, application.getBean(Registration.class).state());
            assertTrue(failing.message().contains("EXTAUTHZ_URL"), failing.message());
        }
    }

    @Test
    void missingCredentialStopsARequiredRegistration() {
        var error = assertThrows(Exception.class, () -> Applications.start(
                Map.of("EXTAUTHZ_URL", extauthz.url()), List.of(Controllers.Inherits.class),
                "extauthz.registration.required=true"));
        assertTrue(analysis(error).getDescription().contains("EXTAUTHZ_SERVICE_API_KEY"), error.getMessage());
    }

    @Test
    void applicationWithoutDeclarationsNeedsNoSettings() {
        try (var application = Applications.start(Map.of(), List.of(Controllers.Internal.class))) {
            assertInstanceOf(RegistrationState.Registered.class, application.getBean(Registration.class).state());
        }
    }

    @Test
    void disabledStarterDoesNothing() {
        try (var application = Applications.start(
                Map.of(), List.of(Controllers.Inherits.class), "extauthz.enabled=false")) {
            assertEquals(0, application.getBeanNamesForType(Registration.class).length);
        }
    }

    @Test
    void noThreadOfTheStarterIsLeftAfterTheEnd() throws InterruptedException {
        Set<Thread> before = threads();
        try (var application = Applications.start(extauthz.url(), List.of(Controllers.Inherits.class))) {
            extauthz.registrations.take();
            assertTrue(threads().stream().filter(each -> each.getName().startsWith("extauthz")).allMatch(Thread::isDaemon));
        }
        Set<String> left = threads().stream()
                .filter(each -> !before.contains(each) && !each.isDaemon() && each.isAlive())
                .map(Thread::getName)
                .filter(each -> !each.startsWith("HTTP-Dispatcher"))
                .collect(Collectors.toSet());
        assertEquals(Set.of(), left);
    }

    @Test
    void healthShowsTheRegistration() throws Exception {
        extauthz.refusals.add(new ScriptedExtauthz.Refusal(503, "starting", List.of()));
        String[] settings = {"management.endpoint.health.show-details=always", "extauthz.registration.required=true"};
        try (var application = Applications.start(
                extauthz.url(), List.of(Controllers.Inherits.class, Controllers.Odd.class), settings)) {
            String health = health(application);
            assertTrue(health.contains("\"status\":\"UP\""), health);
            assertTrue(health.contains("\"resources\":[\"inherited\"]"), health);
            assertTrue(health.contains("\"revision\":7"), health);
            assertTrue(health.contains("Odd.json (GET /odd/{name}.json)"), health);
        }
        try (var application = Applications.start(Map.of(), List.of(Controllers.Inherits.class), settings[0])) {
            String health = health(application);
            assertTrue(health.contains("\"extauthz\":{\"details\":{\"problem\":\"extauthz.url"), health);
            assertTrue(health.contains("DOWN"), health);
        }
    }

    private static String health(ConfigurableApplicationContext application) throws Exception {
        return HttpClient.newHttpClient().send(
                HttpRequest.newBuilder(URI.create(Applications.url(application) + "/actuator/health")).build(),
                HttpResponse.BodyHandlers.ofString()).body();
    }

    @Test
    void stopDuringAPauseIsQuick() throws InterruptedException {
        for (int i = 0; i < 100; i++) {
            extauthz.refusals.add(new ScriptedExtauthz.Refusal(503, "starting", List.of()));
        }
        var application = Applications.start(extauthz.url(), List.of(Controllers.Inherits.class));
        extauthz.registrations.take();
        long before = System.nanoTime();
        application.close();
        assertTrue(System.nanoTime() - before < 10_000_000_000L);
    }

    private static Set<Thread> threads() {
        return Set.copyOf(Thread.getAllStackTraces().keySet());
    }
}
