package io.extauthz.quarkus.deployment;

import io.extauthz.declare.DeclarationProblem;
import io.extauthz.quarkus.CurrentCaller;
import io.extauthz.quarkus.runtime.Admission;
import io.extauthz.quarkus.runtime.CallerFilter;
import io.extauthz.quarkus.runtime.ConfigSecrets;
import io.extauthz.quarkus.runtime.DeclaredEndpoints;
import io.extauthz.quarkus.runtime.ExtauthzBuildConfig;
import io.extauthz.quarkus.runtime.ExtauthzProducer;
import io.extauthz.quarkus.runtime.ExtauthzRecorder;
import io.extauthz.quarkus.runtime.Registration;
import io.extauthz.quarkus.runtime.RegistrationHealth;
import io.quarkus.arc.deployment.AdditionalBeanBuildItem;
import io.quarkus.arc.deployment.BeanContainerBuildItem;
import io.quarkus.deployment.annotations.BuildProducer;
import io.quarkus.deployment.annotations.BuildStep;
import io.quarkus.deployment.annotations.ExecutionTime;
import io.quarkus.deployment.annotations.Produce;
import io.quarkus.deployment.annotations.Record;
import io.quarkus.deployment.builditem.CombinedIndexBuildItem;
import io.quarkus.deployment.builditem.FeatureBuildItem;
import io.quarkus.deployment.builditem.ServiceStartBuildItem;
import io.quarkus.resteasy.reactive.server.deployment.ResteasyReactiveDeploymentInfoBuildItem;
import io.quarkus.resteasy.reactive.server.deployment.ResteasyReactiveResourceMethodEntriesBuildItem;
import io.quarkus.resteasy.reactive.spi.ContainerRequestFilterBuildItem;
import io.quarkus.runtime.configuration.ConfigurationException;
import io.quarkus.smallrye.health.deployment.spi.HealthBuildItem;
import io.quarkus.vertx.http.deployment.HttpRootPathBuildItem;
import jakarta.ws.rs.Priorities;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import org.eclipse.microprofile.config.ConfigProvider;
import org.jboss.logging.Logger;

/** The build steps of the extension. */
class ExtauthzProcessor {

    private static final Logger LOG = Logger.getLogger("io.extauthz");

    @BuildStep
    FeatureBuildItem feature() {
        return new FeatureBuildItem("extauthz");
    }

    @BuildStep
    AdditionalBeanBuildItem beans() {
        return AdditionalBeanBuildItem.builder()
                .addBeanClasses(
                        Admission.class,
                        CurrentCaller.class,
                        DeclaredEndpoints.class,
                        ExtauthzProducer.class,
                        Registration.class)
                .setUnremovable()
                .build();
    }

    @BuildStep
    ContainerRequestFilterBuildItem filter() {
        return new ContainerRequestFilterBuildItem.Builder(CallerFilter.class.getName())
                .setRegisterAsBean(true)
                .setPriority(Priorities.AUTHENTICATION)
                .build();
    }

    @BuildStep
    HealthBuildItem health(ExtauthzBuildConfig config) {
        return new HealthBuildItem(RegistrationHealth.class.getName(), config.health().enabled());
    }

    @BuildStep
    @Produce(ServiceStartBuildItem.class)
    void refuseSecrets() {
        Set<String> secrets = ConfigSecrets.refusals(ConfigProvider.getConfig());
        if (!secrets.isEmpty()) {
            throw new ConfigurationException(String.join("\n", secrets));
        }
    }

    @BuildStep
    @Record(ExecutionTime.STATIC_INIT)
    void endpoints(
            ResteasyReactiveResourceMethodEntriesBuildItem entries,
            ResteasyReactiveDeploymentInfoBuildItem deployment,
            Optional<HttpRootPathBuildItem> root,
            CombinedIndexBuildItem index,
            ExtauthzBuildConfig config,
            BeanContainerBuildItem beans,
            ExtauthzRecorder recorder) {
        String rootPath = root.map(HttpRootPathBuildItem::getRootPath).orElse("/");
        String applicationPath = deployment.getDeploymentInfo().getApplicationPath();
        EndpointScan.Result scan = new EndpointScan(
                        entries.getEntries(), index.getComputingIndex(), List.of(rootPath, applicationPath))
                .run();
        report(problems(scan), config);
        recorder.endpoints(beans.getValue(), scan.endpoints());
    }

    private static Set<String> problems(EndpointScan.Result scan) {
        Set<String> messages = new LinkedHashSet<>(scan.problems());
        DeclaredEndpoints endpoints = new DeclaredEndpoints();
        endpoints.set(scan.endpoints());
        endpoints.declared("service", null, "")
                .problems().stream().map(DeclarationProblem::message).forEach(messages::add);
        return messages;
    }

    private static void report(Set<String> problems, ExtauthzBuildConfig config) {
        if (problems.isEmpty()) {
            return;
        }
        if (config.problems() == ExtauthzBuildConfig.Problems.FAIL) {
            throw new DeclarationException(problems);
        }
        problems.forEach(LOG::warn);
    }
}
