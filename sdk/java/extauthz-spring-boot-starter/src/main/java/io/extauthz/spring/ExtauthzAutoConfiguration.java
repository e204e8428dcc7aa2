package io.extauthz.spring;

import io.extauthz.client.AssertionVerifier;
import io.extauthz.client.ExtauthzClient;
import io.extauthz.declare.CallerReader;
import io.extauthz.declare.Enforcer;
import java.net.URI;
import java.util.Optional;
import org.springframework.beans.factory.ObjectProvider;
import org.springframework.beans.factory.config.BeanPostProcessor;
import org.springframework.boot.autoconfigure.AutoConfiguration;
import org.springframework.boot.autoconfigure.condition.ConditionalOnClass;
import org.springframework.boot.autoconfigure.condition.ConditionalOnMissingBean;
import org.springframework.boot.autoconfigure.condition.ConditionalOnProperty;
import org.springframework.boot.autoconfigure.condition.ConditionalOnWebApplication;
import org.springframework.boot.context.properties.EnableConfigurationProperties;
import org.springframework.boot.web.servlet.FilterRegistrationBean;
import org.springframework.boot.webmvc.autoconfigure.DispatcherServletPath;
import org.springframework.boot.webmvc.autoconfigure.WebMvcAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Lazy;
import org.springframework.core.Ordered;
import org.springframework.core.env.ConfigurableEnvironment;
import org.springframework.core.env.Environment;
import org.springframework.util.StringUtils;
import org.springframework.web.context.WebApplicationContext;
import org.springframework.web.servlet.config.annotation.InterceptorRegistry;
import org.springframework.web.servlet.config.annotation.WebMvcConfigurer;
import org.springframework.web.servlet.function.support.RouterFunctionMapping;
import org.springframework.web.servlet.mvc.method.RequestMappingInfoHandlerMapping;
import org.springframework.web.servlet.mvc.method.annotation.RequestMappingHandlerMapping;

/** Registers what controllers declare, and gives requests their caller. */
@AutoConfiguration(after = WebMvcAutoConfiguration.class)
@ConditionalOnWebApplication(type = ConditionalOnWebApplication.Type.SERVLET)
@ConditionalOnClass({RequestMappingHandlerMapping.class, DispatcherServletPath.class})
@ConditionalOnProperty(prefix = "extauthz", name = "enabled", havingValue = "true", matchIfMissing = true)
@EnableConfigurationProperties(ExtauthzProperties.class)
public class ExtauthzAutoConfiguration {

    /** Does nothing: the beans are below. */
    public ExtauthzAutoConfiguration() { }

    @Bean
    static SecretsInFiles extauthzSecretsInFiles(ConfigurableEnvironment environment) {
        return new SecretsInFiles(environment);
    }

    /**
     * Returns the client. It is made when it is first used, so that an application starts without it.
     *
     * @param properties the settings
     * @param environment the environment with the credentials
     * @return the client
     */
    @Bean(destroyMethod = "close")
    @Lazy
    @ConditionalOnMissingBean
    public ExtauthzClient extauthzClient(ExtauthzProperties properties, Environment environment) {
        return ClientSettings.client(properties, environment);
    }

    @Bean
    HandlerDeclarations extauthzHandlerDeclarations() {
        return new HandlerDeclarations();
    }

    @Bean
    Registration extauthzRegistration(
            ExtauthzProperties properties,
            Environment environment,
            WebApplicationContext context,
            HandlerDeclarations declarations,
            ObjectProvider<RequestMappingInfoHandlerMapping> mappings,
            ObjectProvider<RouterFunctionMapping> functions,
            ObjectProvider<DispatcherServletPath> servletPath,
            ObjectProvider<ExtauthzClient> client) {
        return new Registration(
                properties,
                () -> new MvcEndpoints(
                                mappings.orderedStream().toList(), functions.orderedStream().toList(), declarations)
                        .declared(
                                serviceName(properties, environment),
                                properties.host(),
                                prefix(properties, context, servletPath.getIfAvailable())),
                client::getObject);
    }

    /** Returns the path that the mesh sees before the paths of the mappings. */
    private static String prefix(
            ExtauthzProperties properties, WebApplicationContext context, DispatcherServletPath servletPath) {
        String contextPath = context.getServletContext() == null ? "" : context.getServletContext().getContextPath();
        return properties.prefix() + contextPath + (servletPath == null ? "" : servletPath.getPrefix());
    }

    private static String serviceName(ExtauthzProperties properties, Environment environment) {
        String name = properties.serviceName();
        String found = StringUtils.hasText(name) ? name : environment.getProperty("spring.application.name", "");
        if (!StringUtils.hasText(found)) {
            throw new ExtauthzConfigurationException(
                    "The service has no name: neither extauthz.service-name nor spring.application.name is set.",
                    "Set extauthz.service-name: the resources of the application belong to it.");
        }
        return found;
    }

    @Bean
    CallerReader extauthzCallerReader(
            ExtauthzProperties properties, Environment environment, ObjectProvider<AssertionVerifier> verifiers) {
        AssertionVerifier verifier = verifiers.getIfAvailable();
        if (verifier != null) {
            return CallerReader.ofAssertions(verifier);
        }
        if (properties.trustHeaders() && properties.directCalls() != DirectCalls.ALLOW) {
            throw new ExtauthzConfigurationException(
                    "extauthz.trust-headers is set together with extauthz.direct-calls: where calls bypass the mesh, a"
                            + " caller can write these headers.",
                    "Set extauthz.assertion.issuer, so that only assertions are believed, and leave"
                            + " extauthz.trust-headers out.");
        }
        if (properties.directCalls() == DirectCalls.REJECT) {
            throw new ExtauthzConfigurationException(
                    "extauthz.direct-calls=reject needs assertions, to tell the calls of the mesh from others.",
                    "Set extauthz.assertion.issuer to ASSERTION_ISSUER of extauthz.");
        }
        return properties.trustHeaders() ? CallerReader.ofTrustedHeaders() : CallerReader.none();
    }

    /**
     * Returns the verifier of assertions.
     *
     * @param properties the settings
     * @param environment the environment, for the name of the service
     * @return the verifier
     */
    @Bean(destroyMethod = "close")
    @ConditionalOnProperty(prefix = "extauthz.assertion", name = "issuer")
    @ConditionalOnMissingBean
    public AssertionVerifier extauthzAssertionVerifier(ExtauthzProperties properties, Environment environment) {
        ExtauthzProperties.Assertion assertion = properties.assertion();
        URI keys = assertion.keysUrl();
        if (keys == null) {
            if (properties.url() == null) {
                throw new ExtauthzConfigurationException(
                        "extauthz.assertion.issuer is set, and neither extauthz.assertion.keys-url nor extauthz.url.",
                        "Set extauthz.assertion.keys-url to the address of the published keys.");
            }
            keys = URI.create(properties.url().toString().replaceAll("/+$", "") + "/.well-known/jwks.json");
        }
        return AssertionVerifier.builder(keys, assertion.issuer(), serviceName(properties, environment))
                .leeway(assertion.leeway())
                .build();
    }

    @Bean
    FilterRegistrationBean<CallerFilter> extauthzCallerFilter(ExtauthzProperties properties, CallerReader callers) {
        boolean hides = callers.canRead() || properties.directCalls() != DirectCalls.ALLOW;
        var registration = new FilterRegistrationBean<>(new CallerFilter(callers, hides));
        registration.setOrder(Ordered.HIGHEST_PRECEDENCE + 100);
        return registration;
    }

    @Bean
    static BeanPostProcessor extauthzCallerArguments() {
        return new CallerArguments();
    }

    @Bean
    WebMvcConfigurer extauthzWebMvcConfigurer(
            ExtauthzProperties properties,
            CallerReader callers,
            HandlerDeclarations declarations,
            ObjectProvider<ExtauthzClient> client,
            ObjectProvider<SubjectResolver> subjects) {
        return new WebMvcConfigurer() {
            @Override
            public void addInterceptors(InterceptorRegistry registry) {
                if (properties.directCalls() != DirectCalls.ALLOW) {
                    var enforcer = new Enforcer(client::getObject, callers);
                    Optional<SubjectResolver> resolver = Optional.ofNullable(subjects.getIfAvailable());
                    registry.addInterceptor(new Enforcement(properties, enforcer, declarations, resolver))
                            .order(Ordered.HIGHEST_PRECEDENCE);
                }
            }
        };
    }
}
