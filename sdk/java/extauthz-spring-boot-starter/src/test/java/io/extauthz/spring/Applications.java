package io.extauthz.spring;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.boot.builder.SpringApplicationBuilder;
import org.springframework.boot.web.server.servlet.context.ServletWebServerApplicationContext;
import org.springframework.context.ConfigurableApplicationContext;
import org.springframework.core.env.StandardEnvironment;
import org.springframework.core.env.SystemEnvironmentPropertySource;
import org.springframework.web.context.support.StandardServletEnvironment;

/** Starts applications with a real server on a free port of the loopback. */
final class Applications {

    static final String KEY = "sak_live_0123456789abcdef";

    private Applications() { }

    @SpringBootConfiguration
    @EnableAutoConfiguration
    static class Application { }

    /** Starts an application; credentials are in its environment. */
    static ConfigurableApplicationContext start(String url, List<Class<?>> controllers, String... settings) {
        return start(Map.of("EXTAUTHZ_URL", url, "EXTAUTHZ_SERVICE_API_KEY", KEY), controllers, settings);
    }

    static ConfigurableApplicationContext start(
            Map<String, Object> variables, List<Class<?>> controllers, String... settings) {
        var sources = new ArrayList<Class<?>>(controllers);
        sources.add(Application.class);
        var arguments = new ArrayList<>(List.of(
                "--server.port=0", "--server.address=127.0.0.1",
                "--spring.main.banner-mode=off", "--spring.jmx.enabled=false", "--extauthz.attempts=1"));
        if (Arrays.stream(settings).noneMatch(each -> each.startsWith("spring.application.name="))) {
            arguments.add("--spring.application.name=billing");
        }
        Arrays.stream(settings).map(each -> "--" + each).forEach(arguments::add);
        var environment = new StandardServletEnvironment();
        environment.getPropertySources().replace(
                StandardEnvironment.SYSTEM_ENVIRONMENT_PROPERTY_SOURCE_NAME,
                new SystemEnvironmentPropertySource(
                        StandardEnvironment.SYSTEM_ENVIRONMENT_PROPERTY_SOURCE_NAME, variables));
        return new SpringApplicationBuilder(sources.toArray(Class<?>[]::new))
                .environment(environment)
                .run(arguments.toArray(String[]::new));
    }

    static String url(ConfigurableApplicationContext application) {
        return "http://127.0.0.1:"
                + ((ServletWebServerApplicationContext) application).getWebServer().getPort();
    }
}
